"""Facts of the project that a pipeline file belongs to, asked of git. Works in a folder that is no repository too.

Facts are read when they are first wanted: listing files or comparing commits costs a process.
"""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from urllib.parse import unquote

from pipeline.file_listing import git_run, project_files
from protocol.errors import LongshoreError

NO_SHA = "0" * 40
"""What GitLab says where there is no commit."""
NO_MESSAGE = "No commit message"
"""GitLab's title of a commit without a message."""
LONG_TITLE = 100
"""Characters from which on a title is one that GitLab shows cut."""
FALLBACK_BRANCH = "main"
FALLBACK_NAME = "project"
"""What a folder is called whose name has nothing in it that a path may have."""
LOCAL_GROUP = "local"
MAX_PATH_NAME = 200
"""Characters that are kept of a name that has to be changed; names of folders have 255 bytes at most."""
HASH_LENGTH = 6
"""Hex digits that keep apart names which differ only in what a path can't have."""
_PATH_NAME = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9_.-]*(?<!\.)(?<!\.git)(?<!\.atom)")
"""What GitLab takes as the name of a project or group."""
_IMAGE_NAME = re.compile(r"[A-Za-z0-9]+(?:(?:\.|__?|-+)[A-Za-z0-9]+)*(?<!\.git)(?<!\.atom)")
"""What may besides, in lower case, be part of an image's name; projects that are new to GitLab have such a name."""
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_URL = re.compile(r"(?P<scheme>https?|ssh|git)://(?:[^@/]*@)?(?P<host>[^:/]+)(?::(?P<port>\d+))?/(?P<path>.+)\Z")
_SCP = re.compile(r"(?:[^@/:]+@)?(?P<host>[^:/]+):(?!//)(?P<path>.+)\Z")


@dataclass(frozen=True, slots=True)
class Remote:
    """Where the project is kept: `path` is GROUP/NAME, `url` has no credentials, `title` is the name for people."""

    host: str
    path: str
    url: str
    title: str
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

    @property
    def title(self) -> str:
        """The first line of the message."""
        if self.sha != NO_SHA and not self.message.strip():
            return NO_MESSAGE
        return re.split(r"[\r\n]", self.message, maxsplit=1)[0]

    @property
    def description(self) -> str:
        """The message without its title; all of it where the title is too long to be shown as one."""
        if len(self.title) >= LONG_TITLE:
            return self.message
        if self.title == NO_MESSAGE:
            return NO_MESSAGE
        return self.message.partition("\n")[2].strip("\n")


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
        shown = self._git(
            "log", "-1", "--no-show-signature", "--encoding=UTF-8", "--format=%H%x00%P%x00%an <%ae>%x00%cI%x00%B"
        )
        if shown is None:
            return Commit()
        sha, parents, author, timestamp, message = shown.split("\0", 4)
        return Commit(sha, parents.split(" ")[0] or NO_SHA, author, timestamp, message.rstrip("\n"))

    @cached_property
    def tag(self) -> str | None:
        """The tag that is checked out, when no branch is."""
        return self._git("describe", "--tags", "--exact-match", "HEAD") if self._head is None else None

    def tag_message(self, tag: str) -> str:
        """What an annotated tag says, without a signature; nothing for a tag that is none, or not there."""
        ref = f"refs/tags/{tag}"
        form = "--format=%(objecttype) %(refname)%00%(contents)%00%(contents:signature)"
        shown = self._git("for-each-ref", "--count=1", form, ref)
        which, _, rest = (shown or "").partition("\0")
        message, _, signature = rest.rpartition("\0")
        return message.removesuffix(signature).strip("\n") if which == f"tag {ref}" else ""

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
        """All files of the project, relative to the root: what `project_files` says, without folders."""
        return sorted(readable(name) for name in self.listing() if not name.endswith("/"))

    def listing(self) -> set[str]:
        """See `project_files`; asked for once."""
        return self._listed

    @cached_property
    def _listed(self) -> set[str]:
        return project_files(self.root)

    def changed_files(self, compare_to: str | None) -> set[str] | None:
        """What has changed since `compare_to` parted from here, deletions too; None if the history doesn't tell.

        Without `compare_to`: since the branch was last pushed, or parted from the default branch; if that is here,
        since the commit before. What is not committed is in it. Raises LongshoreError for an unknown `compare_to`.
        """
        base = self._base() if compare_to is None else self.merge_base(compare_to)
        if base is None:
            if compare_to is not None and self.commit.sha != NO_SHA:
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
            base = self.merge_base(ref)
            if base is not None and base != head:
                return base
        return self.commit.before_sha if self.commit.before_sha != NO_SHA else None

    def merge_base(self, ref: str) -> str | None:
        """The commit at which what is checked out has parted from `ref`; None if that is no ref, or never did."""
        if ref.startswith("-"):
            return None
        for name in (ref, f"origin/{ref.removeprefix('refs/heads/')}"):
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


def git_output(root: Path, *arguments: str) -> bytes | None:
    """What a git command prints in `root`; None if it fails or can't be. No program of the repository's is run."""
    try:
        done = git_run(root, *arguments)
    except (FileNotFoundError, ValueError):
        return None
    return done.stdout if done.returncode == 0 else None


def readable(name: str) -> str:
    """A name as text that can be encoded: what is no UTF-8 in it becomes a replacement character."""
    return os.fsencode(name).decode("utf-8", "replace")


def parse_remote(url: str, fallback_name: str) -> Remote:
    """A remote's parts, from any form of address that git knows."""
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
    return Remote("localhost", path, url, title)


def _path_and_title(written: str) -> tuple[str, str]:
    """GROUP/NAME as GitLab would have it, and the name as people know it."""
    parts = [part for part in readable(written).split("/") if part not in ("", ".", "~")] or [FALLBACK_NAME]
    title = " ".join(_UNPRINTABLE.sub(" ", parts[-1]).split())
    if len(parts) == 1:
        return f"{LOCAL_GROUP}/{path_name(parts[0], _IMAGE_NAME)}", title or FALLBACK_NAME
    return "/".join(path_name(part, _PATH_NAME) for part in parts), title or FALLBACK_NAME


def path_name(written: str, form: re.Pattern[str]) -> str:
    """A name as one part of a project's path: as it is written where that has the right form.

    One that had to be changed ends in a hash of how it was written, so that two such names never become one.
    """
    if form.fullmatch(written):
        return written
    plain = unicodedata.normalize("NFKD", written).encode("ascii", "ignore").decode()
    name = re.sub(r"[-_.]{2,}", "-", re.sub(r"[^A-Za-z0-9_.-]+", "-", plain)).strip("-_.")[:MAX_PATH_NAME]
    digest = hashlib.sha256(written.encode("utf-8", "replace")).hexdigest()[:HASH_LENGTH]
    return f"{name.rstrip('-_.') or FALLBACK_NAME}-{digest}"
