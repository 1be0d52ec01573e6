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
BYTES = Row("log-times-bytes", "index of times against the log's bytes, each line read by itself", Target(0.10, 0.06))
ROWS = [THROUGHPUT, BYTES]
LINE = "x" * 70
SIZES = {Scale.FULL: (100, 7, 3000), Scale.QUICK: (50, 3, 500), Scale.TINY: (2, 1, 50)}
"""Megabytes, rounds, slow lines."""


def measure(scale: Scale, peers: Peers) -> list[Finding]:
    """MB/s of a job from submission to result, and the size of the files."""
    megabytes, rounds, slow_lines = SIZES[scale]
    script = f"yes {LINE} | head -c {megabytes * 1_000_000} || true"  # `yes` dies of its closed pipe, as intended
    slowly = f"i=0; while [ $i -lt {slow_lines} ]; do echo {LINE}; usleep 2000; i=$((i+1)); done"
    with (
        fleet(1, slots=2) as timed,
        fleet(1, slots=2, executor="timeless") as timeless,
        Submitter(timed.address) as to_timed,
        Submitter(timeless.address) as to_timeless,
    ):

        def with_times() -> float:
            return megabytes / to_timed.seconds(independent_plan(1, script))

        def without_times() -> float:
            seconds = to_timeless.seconds(independent_plan(1, script))
            if _sizes(timeless)[0]:
                raise BenchmarkFailed("the worker that should send no times sends some")
            return megabytes / seconds

        found = interleave({"with times": with_times, "without": without_times}, rounds)
        index, log = _sizes(timed)
        to_timed.seconds(independent_plan(1, slowly))
        slow_index, slow_log = _sizes(timed)
    share = Series(((slow_index - index) / (slow_log - log),))
    together = Series((index / log,))
    note = f"{megabytes} MB in lines of {len(LINE) + 1} bytes"
    return [
        Finding(THROUGHPUT, ratios(found["with times"], found["without"]), found, "MB/s", note),
        Finding(BYTES, share, {"one by one": share, "as fast as possible": together}, "x", f"{slow_lines} lines"),
    ]


def _sizes(system: Fleet) -> tuple[int, int]:
    """Bytes of all indexes, and of all logs."""
    logs = system.folder / "state" / "logs"
    index, log = (sum(file.stat().st_size for file in logs.glob(f"*/*.{kind}")) for kind in ("times", "log"))
    return index, log
