"""What is recorded of a keyword: its shape, and whether it works here."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from pipeline.schema import Anything, Shape


class Status(Enum):
    """Whether a keyword behaves as in GitLab's reference."""

    WORKS = "works"
    DIFFERS = "differs"
    IGNORED = "ignored"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Keyword:
    """A keyword. `note` describes the difference, the reason it has no effect, or the reason it is refused."""

    path: str
    shape: Shape
    status: Status = Status.WORKS
    note: str = ""

    @property
    def refused(self) -> str:
        return self.note if self.status is Status.REFUSED else ""

    @property
    def ignored(self) -> str:
        return self.note if self.status is Status.IGNORED else ""


def works(path: str, shape: Shape, note: str = "") -> Keyword:
    """A keyword that behaves as in the reference; a note adds a limit or a detail."""
    return Keyword(path, shape, Status.WORKS, note)


def differs(path: str, shape: Shape, note: str) -> Keyword:
    """A keyword that behaves differently from the reference."""
    return Keyword(path, shape, Status.DIFFERS, note)


def ignored(path: str, note: str) -> Keyword:
    """A keyword that is accepted without effect; its use causes a warning."""
    return Keyword(path, Anything(), Status.IGNORED, note)


def refused(path: str, note: str) -> Keyword:
    """A keyword that makes a file invalid here."""
    return Keyword(path, Anything(), Status.REFUSED, note)
