"""10 jobs in a chain of needs, against a shell loop of `docker run`."""

from __future__ import annotations

from benchmarks.commands import timed
from benchmarks.fleet import LONGSHORE, fleet, scratch
from benchmarks.harness import Finding, Row, Scale, Target, compare, interleave
from benchmarks.peers import Peers
from benchmarks.work import IMAGE, chain_file, repository

ROW = Row("chain", "chain of dependent `true` jobs against a shell loop of `docker run`", Target(0.80, 0.55))
ROWS = [ROW]
SIZES = {Scale.FULL: (10, 5), Scale.QUICK: (10, 2), Scale.TINY: (2, 1)}
"""Jobs, rounds."""


def measure(scale: Scale, peers: Peers) -> list[Finding]:
    """Both as whole commands; Longshore's with a running coordinator and a running worker of 2 slots."""
    jobs, rounds = SIZES[scale]
    with scratch() as folder, fleet(1, slots=2) as system:
        project = repository(folder / "project", chain_file(jobs))
        loop = f"for i in $(seq {jobs}); do docker run --rm {IMAGE} true || exit 1; done"
        found = interleave(
            {
                "Longshore": lambda: timed([LONGSHORE, "run"], project, system.environment()),
                "docker run": lambda: timed(["sh", "-c", loop], project),
            },
            rounds,
        )
    return [compare(ROW, found["Longshore"], found["docker run"], other="docker run", note=f"{jobs} jobs")]
