"""The rows of the table, one module per comparison, in the table's order."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Protocol

from benchmarks.harness import Finding, Row, Scale
from benchmarks.peers import Peers
from benchmarks.rows import chain, embedded, feed, gate, independent, latency, logs, scale, startup, throughput


class Comparison(Protocol):
    """What each module offers: the rows that it fills, and how to measure them (several may share one measurement)."""

    ROWS: list[Row]
    measure: Callable[[Scale, Peers], list[Finding]]


COMPARISONS: list[ModuleType] = [
    independent,
    chain,
    gate,
    throughput,
    latency,
    logs,
    feed,
    scale,
    startup,
    embedded,
]
