"""The rows of the table, one module per comparison, in the table's order."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Protocol

from benchmarks.harness import Finding, Row, Scale
from benchmarks.peers import Peers
from benchmarks.rows import (
    artifacts,
    cache,
    chain,
    embedded,
    feed,
    gate,
    independent,
    latency,
    log_times,
    logs,
    many_files,
    repository,
    scale,
    startup,
    throughput,
)


class Comparison(Protocol):
    """Interface of each module: its rows, and their measurement (several rows may share one)."""

    ROWS: list[Row]
    measure: Callable[[Scale, Peers], list[Finding]]


COMPARISONS: list[ModuleType] = [
    independent,
    chain,
    gate,
    throughput,
    latency,
    logs,
    log_times,
    feed,
    scale,
    startup,
    embedded,
    repository,
    many_files,
    artifacts,
    cache,
]
