"""Lists the files of a project: those that git tracks or would add, as they are on disk. Runs git, reads no file.

Workspaces, `rules:exists` and `include:local` share this listing, so a job included because of a file finds that file.
"""

from __future__ import annotations

import os
import shutil
import stat
import struct
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from protocol.errors import LongshoreError

GIT_SECONDS = 60.0
"""Timeout of a git query about commits."""
MAX_LISTED = 2_000_000
"""Maximum number of files in a directory without git, which might be a whole disk."""
SUBMODULE_MODE = b"160000"
NOT_OURS = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_PREFIX", "GIT_OBJECT_DIRECTORY")
"""Set by git for its hooks; they would redirect any query to the hook's repository."""


STAMP = struct.Struct("<4Q")
"""mtime and ctime in ns, inode, size of a file: another one if the file has changed."""
_LARGEST = (1 << 64) - 1
_MODES: dict[int, int] = {}
"""The few modes that there are, each once."""


def stamp(mtime_ns: int, ctime_ns: int, inode: int, size: int) -> bytes:
    """The bytes of a STAMP; times before 1970 are large numbers."""
    return STAMP.pack(mtime_ns & _LARGEST, ctime_ns & _LARGEST, inode & _LARGEST, size & _LARGEST)


class FileStatus(msgspec.Struct, frozen=True, gc=False):
    """What is kept of a file's `stat`, in a sixth of its memory: there may be very many. `stamp` is a STAMP."""

    mode: int
    stamp: bytes

    @classmethod
    def of(cls, found: os.stat_result) -> FileStatus:
        """The status that the system returned."""
        made = stamp(found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_size)
        return cls(_MODES.setdefault(found.st_mode, found.st_mode), made)

    @property
    def mtime_ns(self) -> int:
        """Time of the last change of the content, since 1970."""
        return int(STAMP.unpack(self.stamp)[0])

    @property
    def size(self) -> int:
        """Bytes of the content."""
        return int(STAMP.unpack(self.stamp)[3])


class Listing(msgspec.Struct):
    """The files of one git repository; paths are bytes, relative to its top.

    `index` has the lines of `git ls-files --stage -v`. `files` are files and symlinks on disk, including those of
    untracked repositories inside, with their status if it is known: that of files that git tracks, until it is taken.
    `untracked` are those of them that git does not track. `empty` are directories without files. `submodules` are those
    that are checked out; `absent` are directories of the others.
    """

    index: list[bytes] = []
    files: dict[bytes, FileStatus | None] = {}
    untracked: set[bytes] = set()
    empty: list[bytes] = []
    submodules: dict[bytes, Listing] = {}
    absent: list[bytes] = []

    def names(self, prefix: bytes = b"") -> Iterator[bytes]:
        """All files and, with a trailing slash, directories without files, also those of submodules."""
        yield from (prefix + name for name in self.files)
        yield from (prefix + name + b"/" for name in (*self.empty, *self.absent))
        for path, listing in self.submodules.items():
            yield from listing.names(prefix + path + b"/")


def project_files(root: Path) -> set[str]:
    """Names below `root` of all files and symlinks of the project and, with a trailing slash, of its empty directories.

    Includes tracked and untracked-but-not-ignored files on disk, and those of submodules and nested repositories; all
    files if there is no git repository. Raises LongshoreError if git can't be run.
    """
    if (root / ".git").exists():
        return {os.fsdecode(name) for name in list_files(root).names()}
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


def list_files(root: Path, index: list[bytes] | None = None) -> Listing:
    """Lists the files of the git repository at `root`: of what git tracks, only those of the lines `index` if given.

    Raises LongshoreError if git can't be run.
    """
    found = _listed(root, index)
    found.untracked = {name for name, status in found.files.items() if status is None}
    return found


def _listed(root: Path, index: list[bytes] | None) -> Listing:
    top = os.fsencode(root) + b"/"
    found = Listing()
    links: dict[bytes, bool] = {}
    folders: list[bytes] = []  # unknown to git: new, or replacing a file
    last, hidden = b"", False
    found.index = list_index(root) if index is None else index
    for line in found.index:
        head, _, name = line.partition(b"\t")
        folder = name.rpartition(b"/")[0]
        if folder != last:
            last, hidden = folder, _through_link(top, folder, links)
        if hidden:
            continue
        if head.startswith(SUBMODULE_MODE, 2):
            _add_nested(found, top, name, tracked=True)
            continue
        try:
            status = os.lstat(top + name)
        except (FileNotFoundError, NotADirectoryError):
            continue
        if stat.S_ISDIR(status.st_mode):
            folders.append(name)
        else:
            found.files[name] = FileStatus.of(status)
    for name in _lines(root, "ls-files", "-z", "--others", "--exclude-standard", "--directory"):
        if name.endswith(b"/"):
            folders.append(name.rstrip(b"/"))
        else:
            found.files[name] = None
    if not folders:
        return found
    for name in _lines(root, "ls-files", "-z", "--others", "--exclude-standard"):
        if name.endswith(b"/"):
            _add_nested(found, top, name.rstrip(b"/"), tracked=False)
        else:
            found.files.setdefault(name, None)
    found.empty += _not_ignored(root, _empty_folders(top, folders))
    return found


def list_index(root: Path, paths: Iterable[bytes] = ()) -> list[bytes]:
    """Lines of `git ls-files --stage -v`, of all or a few paths. Raises LongshoreError if git can't be run."""
    return _lines(root, "--literal-pathspecs", "ls-files", "-z", "--stage", "-v", "--", *map(os.fsdecode, paths))


def _through_link(top: bytes, folder: bytes, links: dict[bytes, bool]) -> bool:
    """Whether a directory is, or lies below, a link that replaced a tracked directory; `links` caches that."""
    if not folder:
        return False
    if folder not in links:
        links[folder] = os.path.islink(top + folder) or _through_link(top, os.path.dirname(folder), links)
    return links[folder]


def _add_nested(found: Listing, top: bytes, name: bytes, *, tracked: bool) -> None:
    """Adds a submodule, or the files of an untracked repository; only the directory of one that is not checked out."""
    path = top + name
    if os.path.lexists(path + b"/.git"):
        inner = list_files(Path(os.fsdecode(path)))
        if tracked:
            found.submodules[name] = inner
        else:
            for file in inner.names():
                if file.endswith(b"/"):
                    found.empty.append(name + b"/" + file[:-1])
                else:
                    found.files[name + b"/" + file] = None
    elif os.path.isdir(path) and not os.path.islink(path):
        found.absent.append(name)


def _empty_folders(top: bytes, folders: Iterable[bytes]) -> list[bytes]:
    found = []
    for folder in folders:
        for path, names, files in os.walk(top + folder):
            if b".git" in names or b".git" in files:
                names.clear()
            elif not names and not files:
                found.append(path[len(top) :])
    return found


def _not_ignored(root: Path, folders: list[bytes]) -> Iterator[bytes]:
    if not folders:
        return
    asked = b"".join(folder + b"/\0" for folder in folders)
    ignored = {name.rstrip(b"/") for name in _lines(root, "check-ignore", "-z", "--stdin", asked=asked)}
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
