"""Addresses of other projects: the server of the remote `origin`, or one that the user names. Runs nothing."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

import msgspec

from protocol.errors import LongshoreError

PROJECT_PATH = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9_.-]*(?:/[A-Za-z0-9_.][A-Za-z0-9_.-]*)*\Z")
"""GROUP/NAME; a part is never an option, `.` or `..`."""
LEVELS = 3
"""Directories above a local origin that are searched for a project of fewer parts."""
_URL = re.compile(r"(?P<prefix>(?:https?|ssh|git)://[^/]+/)(?P<path>.*)\Z")
_SCP = re.compile(r"(?P<prefix>(?:[^@/:]+@)?(?:\[[^\]]+\]|[^/:\[]+):(?!//)/?)(?P<path>.*)\Z")
_USER_INFO = re.compile(r"(?<=://)[^/\s'\"]*@")


def without_credentials(text: str) -> str:
    """The text without the user and password of any URL in it."""
    return _USER_INFO.sub("", text)


class Server(msgspec.Struct, frozen=True):
    """A git server: the address of a project is `prefix`, its path, `suffix`; or a directory with repositories.

    With `own`, the address of an origin that is a directory, repositories are also searched above `folder`.
    """

    prefix: str = ""
    suffix: str = ".git"
    folder: Path | None = None
    own: str = ""

    def address(self, project: str) -> str:
        """The address of a project's repository, for git. Raises LongshoreError if it can't have one."""
        parts = project.split("/")
        if not PROJECT_PATH.match(project) or {".", ".."}.intersection(parts):
            raise LongshoreError(f"{project[:200]!r} is not the path of a project; write GROUP/NAME")
        if self.folder is None:
            return f"{self.prefix}{project}{self.suffix}"
        folders = [self.folder]
        if self.own:
            folders += list(self.folder.parents)[: max(len(parts), LEVELS) - 1]
        for folder in folders:
            for path in (folder / f"{project}.git", folder / project):
                if path.is_dir():
                    return _file_address(path)
        above = " or above it" if self.own else ""
        raise LongshoreError(f"there is no {project} or {project}.git in {self.folder}{above}")

    @property
    def host(self) -> str:
        """HOST or HOST:PORT of an HTTP server, HOST of any other; empty for a directory."""
        if self.prefix.startswith("http"):
            return without_credentials(self.prefix).partition("://")[2].strip("/")
        if "://" in self.prefix:
            return urlsplit(self.prefix).hostname or ""
        return self.prefix.rpartition("@")[2].partition(":")[0]

    def __str__(self) -> str:
        return without_credentials(self.prefix) if self.folder is None else str(self.folder)


def server_of(origin: str, root: Path) -> Server:
    """The server of a repository whose remote is `origin`; `root` is the directory that a relative path starts at.

    The address of another project is that of `origin`, with the path replaced.
    """
    bare = origin.strip().rstrip("/")
    suffix = ".git" if bare.endswith(".git") or bare.startswith("http") else ""
    if match := _URL.match(bare):
        return Server(match["prefix"], suffix)
    if not bare.startswith("file://") and (match := _SCP.match(bare)):
        return Server(match["prefix"], suffix)
    origin_folder = _directory(bare, root)
    return Server(folder=origin_folder.parent, own=_file_address(origin_folder))


def named_server(address: str) -> Server:
    """The server of the option --server: a URL, `USER@HOST:` for ssh, or a directory."""
    bare = address.strip().rstrip("/")
    if re.match(r"(?:https?|ssh|git)://[^/]+", bare):
        return Server(f"{bare}/")
    if re.match(r"(?:[^@/:]+@)[^/:]+:?\Z", bare) or (not bare.startswith("file://") and _SCP.match(bare)):
        return Server(bare if bare.endswith(":") else f"{bare}:" if ":" not in bare else f"{bare}/")
    folder = _directory(bare, Path.cwd())
    if not folder.is_dir():
        raise LongshoreError(
            f"{without_credentials(address)!r} is no git server: write https://HOST, ssh://git@HOST, git@HOST: "
            "or a directory that has the repositories"
        )
    return Server(folder=folder)


def _file_address(path: Path) -> str:
    return f"file://{quote(str(path))}"


def _directory(address: str, root: Path) -> Path:
    path = unquote(address.removeprefix("file://")) if address.startswith("file://") else address
    return (root / path).resolve()
