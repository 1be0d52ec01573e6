"""The cost of the times of log lines: throughput with them against a worker that sends none, and their bytes."""

from __future__ import annotations

from benchmarks.fleet import BenchmarkFailed, Fleet, Submitter, fleet
from benchmarks.harness import Finding, Row, Scale, Series, Target, interleave, ratios
from benchmarks.peers import Peers
from benchmarks.work import independent_plan

THROUGHPUT = Row(
    "log-times",
    "lines with their times, container to coordinator's disk, against a worker that sends no times",
    Target(0.97, 1.0, at_least=True),
)
BYTES = Row("log-times-bytes", "index of times against the log's bytes", Target(0.10, 0.01))
ROWS = [THROUGHPUT, BYTES]
LINE = "x" * 70
SIZES = {Scale.FULL: (100, 7), Scale.QUICK: (50, 3), Scale.TINY: (2, 1)}
"""Megabytes, rounds."""


def measure(scale: Scale, peers: Peers) -> list[Finding]:
    """MB/s of a job from submission to result, and the size of the files."""
    megabytes, rounds = SIZES[scale]
    script = f"yes {LINE} | head -c {megabytes * 1_000_000} || true"  # `yes` dies of its closed pipe, as intended
    shares: list[float] = []
    with (
        fleet(1, slots=2) as timed,
        fleet(1, slots=2, executor="timeless") as timeless,
        Submitter(timed.address) as to_timed,
        Submitter(timeless.address) as to_timeless,
    ):

        def with_times() -> float:
            seconds = to_timed.seconds(independent_plan(1, script))
            shares.append(_index_share(timed))
            return megabytes / seconds

        def without_times() -> float:
            seconds = to_timeless.seconds(independent_plan(1, script))
            if _index_share(timeless):
                raise BenchmarkFailed("the worker that should send no times sends some")
            return megabytes / seconds

        found = interleave({"with times": with_times, "without": without_times}, rounds)
    note = f"{megabytes} MB in lines of {len(LINE) + 1} bytes"
    return [
        Finding(THROUGHPUT, ratios(found["with times"], found["without"]), found, "MB/s", note),
        Finding(BYTES, Series(tuple(shares)), {"index of the log": Series(tuple(shares))}, "x", note),
    ]


def _index_share(system: Fleet) -> float:
    """Bytes of all indexes against those of all logs."""
    logs = system.folder / "state" / "logs"
    index, log = (sum(file.stat().st_size for file in logs.glob(f"*/*.{kind}")) for kind in ("times", "log"))
    return index / log
