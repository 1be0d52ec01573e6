"""The measurement framework: rows with targets, alternating contenders, medians and ranges. Knows no Longshore.

Absolute times on a shared machine mean little; ratios of contenders measured alternately do, because other load affects
all of them.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum


class Scale(Enum):
    """Amount of work of a benchmark run."""

    FULL = "full"
    QUICK = "quick"  # all rows within a few minutes
    TINY = "tiny"  # for the smoke test: checks function, not speed


class Missing(Exception):
    """A contender or a prerequisite is unavailable on this machine; the message gives the reason."""


@dataclass(frozen=True, slots=True)
class Series:
    """Repeated measurements of one quantity, in chronological order."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """The median."""
        return statistics.median(self.values)

    @property
    def low(self) -> float:
        """The minimum."""
        return min(self.values)

    @property
    def high(self) -> float:
        """The maximum."""
        return max(self.values)

    def quantile(self, share: float) -> float:
        """The smallest value not exceeded by `share` of all values."""
        ordered = sorted(self.values)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


@dataclass(frozen=True, slots=True)
class Target:
    """A row's bounds: the required value and the goal; `at_least` if more is better."""

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
    """A line of the table. `unit` is that of the judged value: "x" for a ratio."""

    name: str
    title: str
    target: Target
    unit: str = "x"


@dataclass(frozen=True, slots=True)
class Finding:
    """A row's result.

    `value` is the judged quantity, `sides` the contenders' measurements in `side_unit`; `note` describes the
    size of the measurement. `missing` is the reason for a missing value.
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
    """Measures the contenders in turn, `rounds` times, starting with a different one each round."""
    names = list(contenders)
    values: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            values[name].append(contenders[name]())
    return {name: Series(tuple(found)) for name, found in values.items()}


def ratios(ours: Series, theirs: Series) -> Series:
    """Ours divided by theirs, round by round: both values of a round saw the same machine load."""
    return Series(tuple(a / b for a, b in zip(ours.values, theirs.values, strict=True)))


def compare(row: Row, ours: Series, theirs: Series | None, *, other: str, unit: str = "s", note: str = "") -> Finding:
    """The finding of a row that is the ratio of two contenders; `theirs` is None if the other one is missing."""
    if theirs is None:
        return Finding(row, sides={"Longshore": ours}, side_unit=unit, note=note, missing=f"{other} is not available")
    return Finding(row, ratios(ours, theirs), {"Longshore": ours, other: theirs}, unit, note)


def series(values: Iterable[float]) -> Series:
    """A series from consecutive measurements."""
    return Series(tuple(values))
