"""Building blocks of a pipeline file: YAML values whose containers record the place of each part. Pure.

Containers are immutable once built: aliases share them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias


@dataclass(frozen=True, slots=True)
class Origin:
    """A file's name in messages, and the chain of `FILE:LINE` that included it."""

    name: str
    included_from: tuple[str, ...] = ()


class Mark(NamedTuple):
    """A place in a file. Lines and columns (in characters) count from 1, and the end is exclusive; a line of 0 is the
    whole file, a column of 0 the whole line.
    """

    origin: Origin
    line: int
    column: int = 0
    end_line: int = 0
    end_column: int = 0


@dataclass(frozen=True, slots=True)
class Reference:
    """An unresolved `!reference [job, key, ...]`."""

    path: tuple[str, ...]
    mark: Mark

    def __str__(self) -> str:
        return f"!reference [{', '.join(self.path)}]"


class Map(dict[str, "Value"]):
    """A mapping. `mark` is its place, `marks` the place of each key."""

    __slots__ = ("mark", "marks")

    def __init__(self, mark: Mark, entries: Iterable[tuple[str, Value, Mark]] = ()) -> None:
        super().__init__()
        self.mark = mark
        self.marks: dict[str, Mark] = {}
        for key, value, where in entries:
            self[key] = value
            self.marks[key] = where

    def at(self, key: str) -> Mark:
        """The place of `key`, or of the mapping itself."""
        return self.marks.get(key, self.mark)

    def entries(self) -> Iterator[tuple[str, Value, Mark]]:
        """All keys with values and places, in order."""
        for key, value in self.items():
            yield key, value, self.at(key)

    def without(self, *keys: str) -> Map:
        """The same mapping without `keys`."""
        return Map(self.mark, (entry for entry in self.entries() if entry[0] not in keys))

    def having(self, key: str, value: Value, mark: Mark) -> Map:
        """The same mapping with `key` set."""
        changed = Map(self.mark, self.entries())
        changed[key] = value
        changed.marks[key] = mark
        return changed


class Seq(list["Value"]):
    """A list. `mark` is its place, `marks` the place of each item."""

    __slots__ = ("mark", "marks")

    def __init__(self, mark: Mark, items: Iterable[tuple[Value, Mark]] = ()) -> None:
        super().__init__()
        self.mark = mark
        self.marks: list[Mark] = []
        for value, where in items:
            self.append(value)
            self.marks.append(where)

    def entries(self) -> Iterator[tuple[Value, Mark]]:
        """All items with their places."""
        return zip(self, self.marks, strict=True)


Scalar: TypeAlias = str | int | float | bool | None
Value: TypeAlias = Scalar | Map | Seq | Reference


def text_of(value: Scalar) -> str:
    """A scalar as GitLab (Ruby) formats it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def kind_of(value: Value) -> str:
    """A value's type, as named in messages."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, str):
        return "a string"
    if isinstance(value, Seq):
        return "a list"
    if isinstance(value, Map):
        return "a mapping"
    return "a !reference"


def shown_file(name: str) -> str:
    """A file's name for a message: whole, since others may begin alike."""
    return shown(name, 1000)


def shown(value: object, limit: int = 60) -> str:
    """A value for a message: quoted, on one line, truncated to `limit` characters."""
    text = str(value)
    return repr(text if len(text) <= limit else text[: limit - 1] + "…")
