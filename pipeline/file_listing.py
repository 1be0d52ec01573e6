"""Lists the files of a project: those that git tracks or would add, as they are on disk. Runs git, reads no file.

Workspaces, `rules:exists` and `include:local` share this listing, so a job included because of a file finds that file.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

from protocol.errors import LongshoreError

GIT_SECONDS = 60.0
"""Timeout of a git query about commits."""
MAX_LISTED = 2_000_000
"""Maximum number of files in a directory without git, which might be a whole disk."""
SUBMODULE_MODE = b"160000"
NOT_OURS = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_PREFIX", "GIT_OBJECT_DIRECTORY")
"""Set by git for its hooks; they would redirect any query to the hook's repository."""


def project_files(root: Path) -> set[str]:
    """Names below `root` of all files and symlinks of the project and, with a trailing slash, of its empty directories.

    Includes tracked and untracked-but-not-ignored files on disk, and those of submodules and nested repositories; all
    files if there is no git repository. Raises LongshoreError if git can't be run.
    """
    if (root / ".git").exists():
        return set(_by_git(root))
    return set(_by_walking(root))


def git_run(
    root: Path, *arguments: str, asked: bytes | None = None, seconds: float | None = GIT_SECONDS
) -> subprocess.CompletedProcess[bytes]:
    """Runs git in `root`, with `asked` on its stdin; programs configured by the repository are not run.

    Raises FileNotFoundError without git, LongshoreError after `seconds`.
    """
    # Anyone who may run this project's jobs may read it, whoever owns the directory.
    command = ["git", "-c", "safe.directory=*", "-c", "core.fsmonitor=false", "-C", str(root), *arguments]
    environment = {key: value for key, value in os.environ.items() if key not in NOT_OURS}
    environment |= {"GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
    try:
        return subprocess.run(command, input=asked, capture_output=True, check=False, timeout=seconds, env=environment)
    except subprocess.TimeoutExpired:
        raise LongshoreError(f"git {arguments[0]} in {root} took longer than {seconds:.0f} s") from None


def _by_git(root: Path) -> Iterator[str]:
    links: dict[str, bool] = {}
    folders: list[str] = []  # unknown to git: new, or replacing a file
    for line in _lines(root, "ls-files", "-z", "--stage"):
        head, _, raw = line.partition(b"\t")
        name = os.fsdecode(raw)
        if head.startswith(SUBMODULE_MODE):
            yield from _nested(root, name)
        elif _is_file(root, name, links):
            yield name
        elif _is_folder(root / name) and not _through_link(root, os.path.dirname(name), links):
            folders.append(name)
    for raw in _lines(root, "ls-files", "-z", "--others", "--exclude-standard", "--directory"):
        if raw.endswith(b"/"):
            folders.append(os.fsdecode(raw.rstrip(b"/")))
        else:
            yield os.fsdecode(raw)
    if not folders:
        return
    for raw in _lines(root, "ls-files", "-z", "--others", "--exclude-standard"):
        if raw.endswith(b"/"):
            yield from _nested(root, os.fsdecode(raw.rstrip(b"/")))
        else:
            yield os.fsdecode(raw)
    yield from (f"{folder}/" for folder in _not_ignored(root, _empty_folders(root, folders)))


def _is_file(root: Path, name: str, links: dict[str, bool]) -> bool:
    """Whether a tracked file still is one: on disk, not replaced by a directory, not reached through a link.

    `links` caches which directories are, or lie below, a link that replaced a directory.
    """
    path = root / name
    return os.path.lexists(path) and not _is_folder(path) and not _through_link(root, os.path.dirname(name), links)


def _through_link(root: Path, folder: str, links: dict[str, bool]) -> bool:
    if not folder:
        return False
    if folder not in links:
        links[folder] = os.path.islink(root / folder) or _through_link(root, os.path.dirname(folder), links)
    return links[folder]


def _nested(root: Path, name: str) -> Iterator[str]:
    """Files of a submodule or a nested repository; only its directory if it is not checked out."""
    if (root / name / ".git").exists():
        yield from (f"{name}/{inner}" for inner in project_files(root / name))
    elif _is_folder(root / name):
        yield f"{name}/"


def _empty_folders(root: Path, folders: Iterable[str]) -> list[str]:
    found = []
    for folder in folders:
        for path, names, files in os.walk(root / folder):
            if ".git" in names or ".git" in files:
                names.clear()
            elif not names and not files:
                found.append(os.path.relpath(path, root))
    return found


def _not_ignored(root: Path, folders: list[str]) -> Iterator[str]:
    if not folders:
        return
    asked = b"".join(os.fsencode(folder) + b"/\0" for folder in folders)
    ignored = {os.fsdecode(name.rstrip(b"/")) for name in _lines(root, "check-ignore", "-z", "--stdin", asked=asked)}
    yield from (folder for folder in folders if folder not in ignored)


def _by_walking(root: Path) -> Iterator[str]:
    count = 0
    for path, folders, files in os.walk(root):
        links = [name for name in folders if os.path.islink(os.path.join(path, name))]
        folders[:] = [name for name in folders if name not in links and name != ".git"]
        yield from (os.path.relpath(os.path.join(path, name), root) for name in files + links)
        if not folders and not files and not links and path != str(root):
            yield f"{os.path.relpath(path, root)}/"
        count += len(files)
        if count > MAX_LISTED:
            raise LongshoreError(f"{root} is not a git repository and has more than {MAX_LISTED} files")


def _lines(root: Path, *arguments: str, asked: bytes | None = None) -> list[bytes]:
    """Output of a git command, split at NULs."""
    if shutil.which("git") is None:
        raise LongshoreError(f"{root} is a git repository, and git is not installed: install it (apt-get install git)")
    done = git_run(root, *arguments, asked=asked, seconds=None)  # a large tree on a slow disk takes long
    nothing_ignored = arguments[0] == "check-ignore" and done.returncode == 1
    if done.returncode != 0 and not nothing_ignored:
        raise LongshoreError(f"git can't list the files of {root}: {os.fsdecode(done.stderr).strip()}")
    return [part for part in done.stdout.split(b"\0") if part]


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()
