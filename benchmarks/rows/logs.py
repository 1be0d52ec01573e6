"""Throughput of log lines from a job's container to the coordinator's disk, against `docker run` to /dev/null."""

from __future__ import annotations

from pathlib import Path

from benchmarks.commands import timed
from benchmarks.fleet import BenchmarkFailed, Submitter, fleet
from benchmarks.harness import Finding, Row, Scale, Target, interleave, ratios
from benchmarks.peers import Peers
from benchmarks.work import IMAGE, independent_plan

ROW = Row(
    "logs",
    "lines, container to coordinator's disk, against `docker run` to /dev/null, log driver `local`",
    Target(0.7, 0.95, at_least=True),
)
ROWS = [ROW]
LINE = "x" * 70
SIZES = {Scale.FULL: (100, 3), Scale.QUICK: (50, 1), Scale.TINY: (2, 1)}
"""Megabytes, rounds."""


def measure(scale: Scale, peers: Peers) -> list[Finding]:
    """MB/s of a job from submission to result, which arrives only after the last byte is durable."""
    megabytes, rounds = SIZES[scale]
    size = megabytes * 1_000_000
    script = f"yes {LINE} | head -c {size} || true"  # `yes` dies of its closed pipe, as intended
    with fleet(1, slots=2) as system, Submitter(system.address) as submitter:

        def longshore() -> float:
            seconds = submitter.seconds(independent_plan(1, script))
            run = submitter.client.list_runs(1)[0].id
            stored = submitter.client.get_log(run, "job 0")[0].size
            if stored < size:
                raise BenchmarkFailed(f"{stored} of {size} bytes were stored")
            return megabytes / seconds

        command = ["docker", "run", "--rm", "--log-driver", "local", IMAGE, "sh", "-c", script]

        def docker_run() -> float:
            return megabytes / timed(["sh", "-c", '"$@" >/dev/null', "sh", *command], Path("/"))

        found = interleave({"Longshore": longshore, "docker run": docker_run}, rounds)
    lines = found["Longshore"].median * 1_000_000 / (len(LINE) + 1)
    note = f"{megabytes} MB; {lines:,.0f} lines/s"
    return [Finding(ROW, ratios(found["Longshore"], found["docker run"]), found, "MB/s", note)]
