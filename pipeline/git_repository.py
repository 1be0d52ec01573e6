"""Facts about the project of a pipeline file, from git. Also works in a directory that is no repository.

Facts are read lazily: listing files or comparing commits costs a process each.
"""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from functools import cached_property
from pathlib import Path
from urllib.parse import unquote

import msgspec

from pipeline.file_listing import Listing, git_run, list_files, project_files
from pipeline.git_directory import GitDirectory, Unreadable
from protocol.errors import LongshoreError

NO_SHA = "0" * 40
"""GitLab's placeholder for a missing commit."""
NO_MESSAGE = "No commit message"
"""GitLab's title of a commit without a message."""
LONG_TITLE = 100
"""Title length from which GitLab shows it truncated."""
FALLBACK_BRANCH = "main"
DETACHED = "HEAD"
"""Branch of a commit that no known branch contains: git's own word for it, and no branch's name on GitLab."""
REMOTE_HEAD = "refs/remotes/origin/HEAD"
USUAL_BRANCHES = [f"{folder}/{name}" for name in ("main", "master") for folder in ("refs/heads", "refs/remotes/origin")]
FALLBACK_NAME = "project"
"""Project name for a directory whose name has no character allowed in a path."""
LOCAL_GROUP = "local"
NO_HOST = "localhost"
"""Host of a project without a remote on another host."""
MAX_PATH_NAME = 200
"""Characters kept of a rewritten name; a file system's limit is 255 bytes."""
HASH_LENGTH = 6
"""Hex digits that distinguish names which differ only in characters not allowed in a path."""
_PATH_NAME = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9_.-]*(?<!\.)(?<!\.git)(?<!\.atom)")
"""Names that GitLab accepts for a project or group."""
_IMAGE_NAME = re.compile(r"[A-Za-z0-9]+(?:(?:\.|__?|-+)[A-Za-z0-9]+)*(?<!\.git)(?<!\.atom)")
"""Names also valid, in lower case, as part of an image's name; GitLab requires this of new projects."""
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_URL = re.compile(r"(?P<scheme>https?|ssh|git)://(?:[^@/]*@)?(?P<host>[^:/]+)(?::(?P<port>\d+))?/(?P<path>.+)\Z")
_SCP = re.compile(r"(?:[^@/:]+@)?(?P<host>[^:/]+):(?!//)(?P<path>.+)\Z")


class Remote(msgspec.Struct, frozen=True):
    """The project's remote: `path` is GROUP/NAME, `url` has no credentials, `title` is the display name."""

    host: str
    path: str
    url: str
    title: str
    scheme: str = "https"
    port: str = "443"


class Commit(msgspec.Struct, frozen=True):
    """The checked-out commit."""

    sha: str = NO_SHA
    before_sha: str = NO_SHA
    author: str = ""
    timestamp: str = ""
    message: str = ""

    @property
    def title(self) -> str:
        """The first line of the message."""
        if self.sha != NO_SHA and not self.message.strip():
            return NO_MESSAGE
        return re.split(r"[\r\n]", self.message, maxsplit=1)[0]

    @property
    def description(self) -> str:
        """The message without its title; the whole message if the title is too long to be shown as one."""
        if len(self.title) >= LONG_TITLE:
            return self.message
        if self.title == NO_MESSAGE:
            return NO_MESSAGE
        return self.message.partition("\n")[2].strip("\n")


class Repository:
    """A project. `root` is the top of its work tree, or the directory itself without a git repository.

    A `whole` directory is a project of its own, even inside another repository. `path` is the project's, whatever its
    remote is.
    """

    def __init__(self, folder: Path, *, whole: bool = False, path: str = "") -> None:
        folder = folder.resolve()
        folders = (folder,) if whole else (folder, *folder.parents)
        top = next((parent for parent in folders if (parent / ".git").exists()), None)
        self.root = top or folder
        self.has_git = top is not None
        self._path = path
        self._last_changes: dict[str, str | None] = {}

    def ask(self) -> None:
        """Reads the facts that every pipeline's variables need, ahead of their first use."""
        _ = self.commit, self.branch, self.remote, self.default_branch

    @cached_property
    def commit(self) -> Commit:
        """The checked-out commit, or a blank one before the first commit."""
        shown = self._git(
            "log", "-1", "--no-show-signature", "--encoding=UTF-8", "--format=%H%x00%P%x00%an <%ae>%x00%cI%x00%B"
        )
        if shown is None:
            return Commit()
        sha, parents, author, timestamp, message = shown.split("\0", 4)
        return Commit(sha, parents.split(" ")[0] or NO_SHA, author, timestamp, message.rstrip("\n"))

    @cached_property
    def tag(self) -> str | None:
        """The checked-out tag, if no branch is checked out."""
        return self._git("describe", "--tags", "--exact-match", "HEAD") if self._head is None else None

    def tag_message(self, tag: str) -> str:
        """Message of an annotated tag without its signature; empty for a lightweight or missing tag."""
        ref = f"refs/tags/{tag}"
        form = "--format=%(objecttype) %(refname)%00%(contents)%00%(contents:signature)"
        shown = self._git("for-each-ref", "--count=1", form, ref)
        which, _, rest = (shown or "").partition("\0")
        message, _, signature = rest.rpartition("\0")
        return message.removesuffix(signature).strip("\n") if which == f"tag {ref}" else ""

    @cached_property
    def branch(self) -> str | None:
        """The checked-out branch; for a detached commit, a branch at it, or else one that contains it; None for a tag.

        The default branch first: a commit of its history is in all branches that began later. DETACHED if no branch
        is known to contain the commit, as in a shallow clone.
        """
        if self._head or not self.has_git:
            return self._head or FALLBACK_BRANCH
        if self.tag:
            return None
        for which in ("--points-at=HEAD", "--contains=HEAD"):
            names = self._git("for-each-ref", which, "--format=%(refname)", "refs/heads", "refs/remotes") or ""
            found = [re.sub(r"refs/(?:heads|remotes/[^/]+)/", "", name) for name in names.splitlines()]
            found = [name for name in found if name != DETACHED]
            if self.default_branch in found:
                return self.default_branch
            if found:
                return found[0]
        return DETACHED

    @cached_property
    def default_branch(self) -> str:
        """The remote's default branch as known to git, else main or master if present, else the checked-out one."""
        if remote := self._symbolic(REMOTE_HEAD):
            return remote.removeprefix("refs/remotes/origin/")
        names = {name.rpartition("/")[2] for name in self._existing(USUAL_BRANCHES)}
        return next((name for name in ("main", "master") if name in names), None) or self._head or FALLBACK_BRANCH

    @cached_property
    def remote(self) -> Remote:
        """The remote `origin`, else the first one, else one derived from the directory's name."""
        remote = parse_remote(self.remote_address, self.root.name)
        if not self._path:
            return remote
        path, title = _path_and_title(self._path)
        return msgspec.structs.replace(remote, path=path, title=title)

    @property
    def remote_address(self) -> str:
        """The address of the remote `origin`, else of the first one, as written: it may hold a password."""
        config = self.configuration
        names = [key for key in config if key.startswith("remote.") and key.endswith(".url")]
        return config.get("remote.origin.url") or (config[names[0]] if names else "")

    @property
    def user(self) -> tuple[str, str]:
        """The user's name and address from git's configuration."""
        return self.configuration.get("user.name", ""), self.configuration.get("user.email", "")

    @cached_property
    def files(self) -> list[str]:
        """All files of the project, relative to the root: `project_files` without directories."""
        return sorted(readable(name) for name in self.listing() if not name.endswith("/"))

    def listing(self) -> set[str]:
        """See `project_files`; read once."""
        return self._listed

    @cached_property
    def _listed(self) -> set[str]:
        if not self.has_git:
            return project_files(self.root)
        return {os.fsdecode(name) for name in self.tree.names()}

    @cached_property
    def tree(self) -> Listing:
        """The files of the git repository."""
        return list_files(self.root)

    def changed_files(self, compare_to: str | None) -> set[str] | None:
        """Files changed since the merge base with `compare_to`, including deletions; None if history doesn't tell.

        Without `compare_to`: since the branch's last push, or its merge base with the default branch; if that is
        the current commit, since its parent. Includes uncommitted changes. Raises LongshoreError for an unknown
        `compare_to`.
        """
        base = self._base() if compare_to is None else self.merge_base(compare_to)
        if base is None:
            if compare_to is not None and self.commit.sha != NO_SHA:
                raise LongshoreError(f"{compare_to!r} is not a ref of this repository")
            return None
        changed = self._git("diff", "--name-only", "--no-renames", "--no-ext-diff", "-z", base, strip=False)
        untracked = self._git("ls-files", "-z", "--others", "--exclude-standard", strip=False)
        if changed is None:
            return None
        return {name for name in (changed + (untracked or "")).split("\0") if name}

    def last_change(self, path: str) -> str | None:
        """The last commit before or at the checked-out one that changed a file, or a file of a pattern; None without
        one. Uncommitted changes don't count.
        """
        if path not in self._last_changes:
            self._last_changes[path] = self._git("log", "-1", "--format=%H", "HEAD", "--", path) or None
        return self._last_changes[path]

    def _base(self) -> str | None:
        head = self.commit.sha
        for ref in ("@{upstream}", f"origin/{self.default_branch}", self.default_branch):
            base = self.merge_base(ref)
            if base is not None and base != head:
                return base
        return self.commit.before_sha if self.commit.before_sha != NO_SHA else None

    def merge_base(self, ref: str) -> str | None:
        """The merge base of the checked-out commit and `ref`; None if `ref` is unknown or unrelated."""
        if ref.startswith("-"):
            return None
        for name in (ref, f"origin/{ref.removeprefix('refs/heads/')}"):
            if base := self._git("merge-base", name, "HEAD"):
                return base
        return None

    def tip(self, branch: str) -> str | None:
        """The commit of a branch, as the remote `origin` had it, else of the local one; None if git knows neither."""
        for name in (f"refs/remotes/origin/{branch}", f"refs/heads/{branch}"):
            if commit := self._git("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}"):
                return commit
        return None

    @cached_property
    def _head(self) -> str | None:
        """The checked-out branch, also an unborn one."""
        ref = self._symbolic("HEAD")
        return ref.removeprefix("refs/heads/") if ref else None

    def _symbolic(self, name: str) -> str | None:
        """Full name of the ref that a symbolic one names."""
        if not self.has_git:
            return None
        try:
            directory = GitDirectory.of(self.root)
            found = directory.branch() if name == "HEAD" else directory.symbolic(name)
        except Unreadable:
            return self._git("symbolic-ref", "-q", name)
        return found.decode("utf-8", "replace") if found else None

    def _existing(self, names: list[str]) -> set[str]:
        """Those of the refs that exist."""
        if not self.has_git:
            return set()
        try:
            return GitDirectory.of(self.root).existing(names)
        except Unreadable:
            return set((self._git("for-each-ref", "--format=%(refname)", *names) or "").splitlines())

    @cached_property
    def configuration(self) -> dict[str, str]:
        """Git's configuration here, of all levels; the last value of each key."""
        return parse_configuration((self._git("config", "-z", "--list", strip=False) or "").encode("utf-8", "replace"))

    def _git(self, *arguments: str, strip: bool = True) -> str | None:
        """Output of a git command; None if it fails, or without a repository or git."""
        if not self.has_git:
            return None
        output = git_output(self.root, *arguments)
        if output is None:
            return None
        text = output.decode("utf-8", "replace")
        return text.strip("\n") if strip else text


def parse_configuration(listed: bytes) -> dict[str, str]:
    """The output of `git config -z --list`: the last value by key; a key without a value is true."""
    entries = (entry.partition("\n") for entry in listed.decode("utf-8", "surrogateescape").split("\0") if entry)
    return {key: value if found else "true" for key, found, value in entries}


def git_output(root: Path, *arguments: str) -> bytes | None:
    """Output of a git command in `root`; None if it fails or can't run. No program of the repository's is run."""
    try:
        done = git_run(root, *arguments)
    except (FileNotFoundError, ValueError):
        return None
    return done.stdout if done.returncode == 0 else None


def readable(name: str) -> str:
    """A name as encodable text: bytes that are not UTF-8 become replacement characters."""
    return os.fsencode(name).decode("utf-8", "replace")


def parse_remote(url: str, fallback_name: str) -> Remote:
    """Parses a remote's address, in any form that git accepts."""
    trimmed = url.strip().rstrip("/").removesuffix(".git")
    if match := _URL.match(trimmed):
        scheme = match["scheme"] if match["scheme"].startswith("http") else "https"
        default_port = "80" if scheme == "http" else "443"
        port = match["port"] if match["scheme"].startswith("http") and match["port"] else default_port
        path, title = _path_and_title(unquote(match["path"]))
        clean = re.sub(r"//[^@/]*@", "//", url) if match["scheme"].startswith("http") else url
        return Remote(match["host"], path, clean, title, scheme, port)
    if match := _SCP.match(trimmed):
        path, title = _path_and_title(match["path"])
        return Remote(match["host"], path, url, title)
    path, title = _path_and_title(trimmed.rpartition("/")[2] or fallback_name)
    return Remote(NO_HOST, path, url, title)


def _path_and_title(written: str) -> tuple[str, str]:
    """GROUP/NAME in GitLab's form, and the display name."""
    parts = [part for part in readable(written).split("/") if part not in ("", ".", "~")] or [FALLBACK_NAME]
    title = " ".join(_UNPRINTABLE.sub(" ", parts[-1]).split())
    if len(parts) == 1:
        return f"{LOCAL_GROUP}/{path_name(parts[0], _IMAGE_NAME)}", title or FALLBACK_NAME
    return "/".join(path_name(part, _PATH_NAME) for part in parts), title or FALLBACK_NAME


def path_name(written: str, form: re.Pattern[str]) -> str:
    """A name as one component of a project's path, unchanged if it matches `form`.

    A rewritten name ends in a hash of the original, so that two names never collide.
    """
    if form.fullmatch(written):
        return written
    plain = unicodedata.normalize("NFKD", written).encode("ascii", "ignore").decode()
    name = re.sub(r"[-_.]{2,}", "-", re.sub(r"[^A-Za-z0-9_.-]+", "-", plain)).strip("-_.")[:MAX_PATH_NAME]
    digest = hashlib.sha256(written.encode("utf-8", "replace")).hexdigest()[:HASH_LENGTH]
    return f"{name.rstrip('-_.') or FALLBACK_NAME}-{digest}"
