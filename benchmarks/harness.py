"""What a measurement is: rows with targets, contenders that take turns, medians and ranges. Knows nothing of Longshore.

Absolute times of a shared machine mean little; what counts are ratios of contenders that were measured alternately, so
that whatever else the machine does meets all of them.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum


class Scale(Enum):
    """How much work a run of the benchmarks does."""

    FULL = "full"
    QUICK = "quick"  # all rows within two minutes
    TINY = "tiny"  # for the smoke test: that it works, not how fast


class Missing(Exception):
    """A contender, or what a row needs, can't be had on this machine; the message says why."""


@dataclass(frozen=True, slots=True)
class Series:
    """Repeated measurements of one thing, in the order in which they were made."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle one."""
        return statistics.median(self.values)

    @property
    def low(self) -> float:
        """The smallest."""
        return min(self.values)

    @property
    def high(self) -> float:
        """The largest."""
        return max(self.values)

    def quantile(self, share: float) -> float:
        """The value that `share` of all are not above."""
        ordered = sorted(self.values)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


@dataclass(frozen=True, slots=True)
class Target:
    """The bounds of a row: what is required, and the goal; `at_least` where more is better."""

    must: float
    goal: float
    at_least: bool = False

    def verdict(self, value: float) -> str:
        """`goal`, `must` or `missed`."""
        for name, bound in (("goal", self.goal), ("must", self.must)):
            if value >= bound if self.at_least else value <= bound:
                return name
        return "missed"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. `unit` is that of the judged value: "x" for a ratio."""

    name: str
    title: str
    target: Target
    unit: str = "x"


@dataclass(frozen=True, slots=True)
class Finding:
    """What a row came to.

    `value` is what is judged, `sides` what was measured of each contender, in `side_unit`; `note` says of what size.
    `missing` says why there is no value.
    """

    row: Row
    value: Series | None = None
    sides: Mapping[str, Series] = field(default_factory=dict)
    side_unit: str = "s"
    note: str = ""
    missing: str = ""

    @property
    def verdict(self) -> str:
        """`goal`, `must`, `missed`, or `missing`."""
        return self.row.target.verdict(self.value.median) if self.value else "missing"


Measure = Callable[[], float]


def interleave(contenders: Mapping[str, Measure], rounds: int) -> dict[str, Series]:
    """Lets the contenders take turns, `rounds` times, beginning with another one each time."""
    names = list(contenders)
    values: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            values[name].append(contenders[name]())
    return {name: Series(tuple(found)) for name, found in values.items()}


def ratios(ours: Series, theirs: Series) -> Series:
    """Ours by theirs, round by round: both of a round met the same machine."""
    return Series(tuple(a / b for a, b in zip(ours.values, theirs.values, strict=True)))


def compare(row: Row, ours: Series, theirs: Series | None, *, other: str, unit: str = "s", note: str = "") -> Finding:
    """The finding of a row that is the ratio of two contenders; `theirs` of None: the other one is missing."""
    if theirs is None:
        return Finding(row, sides={"Longshore": ours}, side_unit=unit, note=note, missing=f"{other} is not there")
    return Finding(row, ratios(ours, theirs), {"Longshore": ours, other: theirs}, unit, note)


def series(values: Iterable[float]) -> Series:
    """A series of what was measured one after the other."""
    return Series(tuple(values))
