"""The shapes of keyword values, and the validation of a value against one. Pure; knows no keyword.

`check` reports every error below a value, each with its place. A null counts as absent everywhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

import msgspec

from pipeline.nodes import Map, Mark, Reference, Seq, Value, kind_of, shown
from pipeline.problems import Report, nearest


class Shape(Protocol):
    """The shape of a value."""

    @property
    def name(self) -> str:
        """The shape as named in messages, with its article."""

    def fits(self, value: Value) -> bool:
        """Whether the value has this shape's type; its parts may still be invalid."""

    def parts(self, value: Value, mark: Mark, key: str, check: Check) -> None:
        """Checks the contents of a value that fits."""


class Check:
    """Validates values and reports errors. `fields` maps a mapping's path to its keys.

    With `partial`, the values are parts of others that are not known: keys that they lack are no errors.
    """

    def __init__(self, report: Report, fields: Mapping[str, Mapping[str, Field]], *, partial: bool = False) -> None:
        self.report = report
        self.fields = fields
        self.partial = partial

    def value(self, value: Value, shape: Shape, mark: Mark, key: str) -> None:
        """Validates one value; an unresolved reference may be anything."""
        if value is None or isinstance(value, Reference):
            return
        if shape.fits(value):
            shape.parts(value, mark, key, self)
        else:
            mend = shape.mend if isinstance(shape, Text) and isinstance(value, Map) else ""
            mend = mend or (shape.instead if isinstance(shape, Fields) else "")
            self.report.problem(f"must be {shape.name}, not {kind_of(value)}", mark, key, mend)


class Field(Protocol):
    """The meaning of a mapping's key: its shape, and whether it is refused or has no effect."""

    @property
    def shape(self) -> Shape: ...
    @property
    def refused(self) -> str:
        """Why the key is refused; empty if it is not."""

    @property
    def ignored(self) -> str:
        """Why the key has no effect; empty if it has one."""


class Anything(msgspec.Struct, frozen=True):
    """Any value; used for keywords without effect."""

    name: str = "anything"

    def fits(self, value: Value) -> bool:
        return True

    def parts(self, value: Value, mark: Mark, key: str, check: Check) -> None:
        return


class Text(msgspec.Struct, frozen=True):
    """A string; `scalars` also accepts numbers and booleans as text. `mend` is the hint for a mapping found instead."""

    scalars: bool = False
    empty: bool = True
    longest: int = 0
    mend: str = ""
    name: str = "a string"

    def fits(self, value: Value) -> bool:
        return isinstance(value, str) or (self.scalars and isinstance(value, int | float))

    def parts(self, value: Value, mark: Mark, key: str, check: Check) -> None:
        if not self.empty and value == "":
            check.report.problem("is empty", mark, key)
        if self.longest and len(str(value)) > self.longest:
            check.report.problem(f"is longer than {self.longest} characters", mark, key)


class Boolean(msgspec.Struct, frozen=True):
    """True or false."""

    name: str = "true or false"

    def fits(self, value: Value) -> bool:
        return isinstance(value, bool)

    def parts(self, value: Value, mark: Mark, key: str, check: Check) -> None:
        return


class Number(msgspec.Struct, frozen=True):
    """A number from `least` to `most`."""

    least: float = 0
    most: float = float("inf")
    whole: bool = True

    @property
    def name(self) -> str:
        return "a whole number" if self.whole else "a number"

    def fits(self, value: Value) -> bool:
        return isinstance(value, int if self.whole else int | float) and not isinstance(value, bool)

    def parts(self, value: Value, mark: Mark, key: str, check: Check) -> None:
        if not self.least <= float(str(value)) <= self.most:
            most = "" if self.most == float("inf") else f" and at most {self.most:g}"
            check.report.problem(f"must be at least {self.least:g}{most}, not {shown(value)}", mark, key)


class Choice(msgspec.Struct, frozen=True):
    """One of a few words; with `variables`, also text that contains a variable. `hints` cover common mistakes."""

    words: tuple[str, ...]
    variables: bool = False
    hints: tuple[tuple[str, str], ...] = ()
    name: str = "a string"

    def fits(self, value: Value) -> bool:
        return isinstance(value, str)

    def parts(self, value: Value, mark: Mark, key: str, check: Check) -> None:
        word = str(value)
        if word in self.words or (self.variables and "$" in word):
            return
        mend = dict(self.hints).get(word) or nearest(word, self.words)
        check.report.problem(f"must be one of {', '.join(self.words)}, not {shown(word)}", mark, key, mend)


class ListOf(msgspec.Struct, frozen=True):
    """A list whose items share one shape."""

    item: Shape
    least: int = 0
    most: int = 100_000

    @property
    def name(self) -> str:
        return "a list"

    def fits(self, value: Value) -> bool:
        return isinstance(value, Seq)

    def parts(self, value: Value, mark: Mark, key: str, check: Check) -> None:
        if not isinstance(value, Seq):
            return
        if len(value) < self.least:
            check.report.problem("is an empty list", mark, key)
        if len(value) > self.most:
            check.report.problem(f"has more than {self.most} items", mark, key)
            return
        for number, (item, where) in enumerate(value.entries()):
            if item is None:
                check.report.problem("is empty", where, f"{key}[{number}]")
            else:
                check.value(item, self.item, where, f"{key}[{number}]")


class MapOf(msgspec.Struct, frozen=True):
    """A mapping with user-defined keys, whose values share one shape."""

    item: Shape
    most: int = 10_000

    @property
    def name(self) -> str:
        return "a mapping"

    def fits(self, value: Value) -> bool:
        return isinstance(value, Map)

    def parts(self, value: Value, mark: Mark, key: str, check: Check) -> None:
        if not isinstance(value, Map):
            return
        if len(value) > self.most:
            check.report.problem(f"has more than {self.most} keys", mark, key)
            return
        for inner, item, where in value.entries():
            check.value(item, self.item, where, f"{key}.{inner}")


class Fields(msgspec.Struct, frozen=True):
    """A mapping whose keys are keywords: those of the table under `path`, or only the given ones.

    `mend` is the hint for a missing required key, `instead` for a value that is no mapping.
    """

    path: str
    only: tuple[str, ...] = ()
    required: tuple[str, ...] = ()
    mend: str = ""
    instead: str = ""

    @property
    def name(self) -> str:
        return "a mapping"

    def fits(self, value: Value) -> bool:
        return isinstance(value, Map)

    def parts(self, value: Value, mark: Mark, key: str, check: Check) -> None:
        if not isinstance(value, Map):
            return
        known = check.fields[self.path]
        allowed = self.only or tuple(known)
        for missing in self.required:
            if value.get(missing) is None and not check.partial:
                check.report.problem(f"lacks {missing!r}", mark, key, self.mend)
        for inner, item, where in value.entries():
            name = f"{key}.{inner}" if key else inner
            field = known.get(inner) if inner in allowed else None
            if field is None:
                check.report.problem("unknown keyword", where, name, nearest(inner, allowed))
            elif field.refused and item is not None:
                check.report.problem(f"is refused: {field.refused}", where, name)
            elif field.ignored and item is not None:
                check.report.without_effect(f"{self.path}.{inner}", field.ignored, where, name)
            else:
                check.value(item, field.shape, where, name)


class AnyOf(msgspec.Struct, frozen=True):
    """Any of several shapes; the first that fits decides."""

    shapes: tuple[Shape, ...]

    @property
    def name(self) -> str:
        return " or ".join(dict.fromkeys(shape.name for shape in self.shapes))

    def fits(self, value: Value) -> bool:
        return any(shape.fits(value) for shape in self.shapes)

    def parts(self, value: Value, mark: Mark, key: str, check: Check) -> None:
        next(shape for shape in self.shapes if shape.fits(value)).parts(value, mark, key, check)


def one_or_more(item: Shape, least: int = 0) -> AnyOf:
    """A single value, or a list of them."""
    return AnyOf((item, ListOf(item, least)))


def any_of(*shapes: Shape) -> AnyOf:
    """Any of several shapes."""
    return AnyOf(tuple(shapes))


def fields_by_path(paths: Iterable[tuple[str, Field]]) -> dict[str, dict[str, Field]]:
    """Keywords by the path of their mapping: `job.cache.key` is `key` under `job.cache`."""
    table: dict[str, dict[str, Field]] = {}
    for path, field in paths:
        parent, _, name = path.rpartition(".")
        table.setdefault(parent, {})[name] = field
    return table
