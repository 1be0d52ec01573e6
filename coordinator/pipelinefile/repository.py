"""Facts of the project that a pipeline file belongs to, asked of git. Works in a folder that is no repository too.

Facts are read when they are first wanted: listing files or comparing commits costs a process.
"""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from protocol.errors import LongshoreError

NO_SHA = "0" * 40
"""What GitLab says where there is no commit."""
FALLBACK_BRANCH = "main"
GIT_SECONDS = 60.0
MAX_LISTED = 2_000_000
"""Files that are looked at; a folder that is no repository might be a whole disk."""
_URL = re.compile(r"(?P<scheme>https?|ssh|git)://(?:[^@/]*@)?(?P<host>[^:/]+)(?::(?P<port>\d+))?/(?P<path>.+)\Z")
_SCP = re.compile(r"(?:[^@/:]+@)?(?P<host>[^:/]+):(?!//)(?P<path>.+)\Z")


@dataclass(frozen=True, slots=True)
class Remote:
    """Where the project is kept: `path` is GROUP/NAME, `url` has no credentials."""

    host: str
    path: str
    url: str
    scheme: str = "https"
    port: str = "443"


@dataclass(frozen=True, slots=True)
class Commit:
    """The commit that is checked out."""

    sha: str = NO_SHA
    before_sha: str = NO_SHA
    author: str = ""
    timestamp: str = ""
    message: str = ""


class Repository:
    """One project. `root` is the top of its work tree, or the folder itself where there is no git repository.

    A `whole` folder is a project by itself, even if it lies in a repository of another.
    """

    def __init__(self, folder: Path, *, whole: bool = False) -> None:
        folder = folder.resolve()
        folders = (folder,) if whole else (folder, *folder.parents)
        top = next((parent for parent in folders if (parent / ".git").exists()), None)
        self.root = top or folder
        self.has_git = top is not None

    def ask(self) -> None:
        """Asks git for all that every pipeline's variables tell, so that it is there when it is wanted."""
        _ = self.commit, self.branch, self.remote, self.default_branch

    @cached_property
    def commit(self) -> Commit:
        """The commit that is checked out, or a blank one before the first."""
        shown = self._git("log", "-1", "--format=%H%x00%P%x00%an <%ae>%x00%cI%x00%B")
        if shown is None:
            return Commit()
        sha, parents, author, timestamp, message = shown.split("\0", 4)
        return Commit(sha, parents.split(" ")[0] or NO_SHA, author, timestamp, message.rstrip("\n"))

    @cached_property
    def tag(self) -> str | None:
        """The tag that is checked out, when no branch is."""
        return self._git("describe", "--tags", "--exact-match", "HEAD") if self._head is None else None

    @cached_property
    def branch(self) -> str | None:
        """The branch that is checked out; for a lone commit a branch that points at it; None for a tag."""
        if self._head or not self.has_git:
            return self._head or FALLBACK_BRANCH
        if self.tag:
            return None
        names = self._git("for-each-ref", "--points-at=HEAD", "--format=%(refname)", "refs/heads", "refs/remotes") or ""
        found = [re.sub(r"refs/(?:heads|remotes/[^/]+)/", "", name) for name in names.splitlines()]
        return next((name for name in found if name != "HEAD"), self.commit.sha[:8])

    @cached_property
    def default_branch(self) -> str:
        """The remote's default branch as git remembers it, else main or master if there, else the current one."""
        if remote := self._git("symbolic-ref", "-q", "--short", "refs/remotes/origin/HEAD"):
            return remote.partition("/")[2]
        present = self._git("for-each-ref", "--format=%(refname:short)", "refs/heads/main", "refs/heads/master") or ""
        return next(iter(present.split()), None) or self.branch or FALLBACK_BRANCH

    @cached_property
    def remote(self) -> Remote:
        """The remote `origin`, else the first one, else one that is made up of the folder's name."""
        config = self._configuration
        names = [key for key in config if key.startswith("remote.") and key.endswith(".url")]
        url = config.get("remote.origin.url") or (config[names[0]] if names else "")
        return parse_remote(url, self.root.name)

    @property
    def user(self) -> tuple[str, str]:
        """The user's name and address, as git is configured."""
        return self._configuration.get("user.name", ""), self._configuration.get("user.email", "")

    @cached_property
    def files(self) -> list[str]:
        """All tracked and untracked-but-not-ignored files, relative to the root; all there are without git."""
        if not self.has_git:
            return self._walked()
        listed = self._git("ls-files", "-z", "--cached", "--others", "--exclude-standard", strip=False)
        if listed is None:
            raise LongshoreError(f"git can't list the files of {self.root}")
        return sorted({name for name in listed.split("\0") if name and not name.endswith("/")})

    def changed_files(self, compare_to: str | None) -> set[str] | None:
        """What has changed since `compare_to` parted from here; None if the history doesn't tell.

        Without `compare_to`: since the branch was last pushed, or parted from the default branch; if that is here,
        since the commit before. What is not committed is in it. Raises LongshoreError for an unknown `compare_to`.
        """
        base = self._base() if compare_to is None else self._merge_base(compare_to)
        if base is None:
            if compare_to is not None and self.has_git:
                raise LongshoreError(f"{compare_to!r} is no ref of this repository")
            return None
        changed = self._git("diff", "--name-only", "--no-renames", "--no-ext-diff", "-z", base, strip=False)
        untracked = self._git("ls-files", "-z", "--others", "--exclude-standard", strip=False)
        if changed is None:
            return None
        return {name for name in (changed + (untracked or "")).split("\0") if name}

    def _base(self) -> str | None:
        head = self.commit.sha
        for ref in ("@{upstream}", f"origin/{self.default_branch}", self.default_branch):
            base = self._merge_base(ref)
            if base is not None and base != head:
                return base
        return self.commit.before_sha if self.commit.before_sha != NO_SHA else None

    def _merge_base(self, ref: str) -> str | None:
        if ref.startswith("-"):
            return None
        for name in (ref, f"origin/{ref}"):
            if base := self._git("merge-base", name, "HEAD"):
                return base
        return None

    @cached_property
    def _head(self) -> str | None:
        return self._git("symbolic-ref", "-q", "--short", "HEAD")

    @cached_property
    def _configuration(self) -> dict[str, str]:
        listed = self._git("config", "-z", "--get-regexp", r"^(remote\..*\.url|user\.(name|email))$", strip=False) or ""
        pairs = (entry.partition("\n") for entry in listed.split("\0") if entry)
        return {key: value for key, _, value in pairs}

    def _git(self, *arguments: str, strip: bool = True) -> str | None:
        """What a git command prints; None if it fails, or there is no repository or no git."""
        if not self.has_git:
            return None
        output = git_output(self.root, *arguments)
        if output is None:
            return None
        text = output.decode("utf-8", "replace")
        return text.strip("\n") if strip else text

    def _walked(self) -> list[str]:
        found: list[str] = []
        for folder, folders, files in os.walk(self.root):
            folders.sort()
            found += (os.path.relpath(os.path.join(folder, name), self.root) for name in files)
            if len(found) > MAX_LISTED:
                raise LongshoreError(f"{self.root} is no git repository and has more than {MAX_LISTED} files")
        return sorted(found)


def git_output(root: Path, *arguments: str) -> bytes | None:
    """What a git command prints in `root`; None if it fails or can't be. No program of the repository's is run."""
    # Whoever may run this project's jobs may read it, whoever owns the folder.
    command = ["git", "-c", "safe.directory=*", "-c", "core.fsmonitor=false", "-C", str(root), *arguments]
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
    try:
        done = subprocess.run(command, capture_output=True, check=False, timeout=GIT_SECONDS, env=environment)
    except (FileNotFoundError, ValueError):
        return None
    except subprocess.TimeoutExpired:
        raise LongshoreError(f"git {arguments[0]} in {root} took longer than {GIT_SECONDS:.0f} s") from None
    return done.stdout if done.returncode == 0 else None


def parse_remote(url: str, fallback_name: str) -> Remote:
    """A remote's parts, from any form of address that git knows."""
    trimmed = url.strip().rstrip("/").removesuffix(".git")
    if match := _URL.match(trimmed):
        scheme = match["scheme"] if match["scheme"].startswith("http") else "https"
        default_port = "80" if scheme == "http" else "443"
        port = match["port"] if match["scheme"].startswith("http") and match["port"] else default_port
        path = match["path"].strip("/")
        clean = re.sub(r"//[^@/]*@", "//", url) if match["scheme"].startswith("http") else url
        return Remote(match["host"], _project_path(path), clean, scheme, port)
    if match := _SCP.match(trimmed):
        return Remote(match["host"], _project_path(match["path"].strip("/")), url)
    name = trimmed.rpartition("/")[2] or fallback_name or "project"
    return Remote("localhost", f"local/{name}", url)


def _project_path(path: str) -> str:
    return path if "/" in path else f"local/{path}"
