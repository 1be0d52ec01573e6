"""A repository's git directory, read without git: a process costs several milliseconds, reading a file 0.03."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import msgspec

SYMBOLIC = b"ref: "
OTHER_STORAGE = "reftable"
"""Directory of refs in a form that only git reads."""


class Unreadable(Exception):
    """The directory, or its form, is unknown: ask git."""


class GitDirectory(msgspec.Struct, frozen=True):
    """The git directory of a work tree; `common` has what all worktrees of its repository share."""

    path: Path
    common: Path

    @classmethod
    def of(cls, top: Path) -> GitDirectory:
        """That of the work tree at `top`. Raises Unreadable."""
        path = _place(top / ".git")
        try:
            common = (path / os.fsdecode((path / "commondir").read_bytes()).rstrip("\n")).resolve()
        except FileNotFoundError:
            common = path
        except OSError as error:
            raise Unreadable(f"can't read {path / 'commondir'}: {error.strerror}") from error
        return cls(path, common)

    def branch(self) -> bytes | None:
        """Full name of the checked-out branch; None without one. Raises Unreadable."""
        self._check_storage()
        target = _target(self.path / "HEAD")
        if target is None:
            raise Unreadable(f"{self.path} has no HEAD")
        return target or None

    def symbolic(self, name: str) -> bytes | None:
        """Full name of the ref that a shared symbolic ref names; None if there is no such. Raises Unreadable."""
        self._check_storage()
        return _target(self.common / name) or None

    def existing(self, names: list[str]) -> set[str]:
        """Those of the shared refs that exist. Raises Unreadable."""
        self._check_storage()
        found = {name for name in names if _target(self.common / name) is not None}
        if len(found) < len(names):
            try:
                packed = (self.common / "packed-refs").read_bytes()
            except FileNotFoundError:
                return found
            except OSError as error:
                raise Unreadable(f"can't read packed-refs: {error.strerror}") from error
            found |= {name for name in names if b" %s\n" % name.encode() in packed}
        return found

    def _check_storage(self) -> None:
        if not (self.common / "refs").is_dir() or not (self.common / "objects").is_dir():
            raise Unreadable(f"{self.common} is no git directory")
        if (self.common / OTHER_STORAGE).exists():
            raise Unreadable(f"{self.common} has its refs in another form")


def _place(dot_git: Path) -> Path:
    """The `.git` of a work tree: a directory, a link to one, or a file that names one."""
    if dot_git.is_dir():
        return dot_git.resolve()
    try:
        kind, _, path = os.fsdecode(dot_git.read_bytes()).partition(": ")
    except OSError as error:
        raise Unreadable(f"can't read {dot_git}: {error.strerror}") from error
    if kind != "gitdir":
        raise Unreadable(f"{dot_git} names no git directory")
    return (dot_git.parent / path.rstrip("\n")).resolve()


def _target(path: Path) -> bytes | None:
    """What a ref's file names; empty for an object; None if there is no file. Raises Unreadable."""
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            raise Unreadable(f"{path} is no regular file")
        content = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise Unreadable(f"can't read {path}: {error.strerror}") from error
    if content.startswith(SYMBOLIC):
        return content.removeprefix(SYMBOLIC).strip()
    if not content.strip() or content.strip(b"0123456789abcdef\n"):
        raise Unreadable(f"{path} is damaged")
    return b""
