"""No-op jobs per second on two workers, every transition durable, against Dask's tasks per second."""

from __future__ import annotations

from benchmarks.dask_side import Dask
from benchmarks.fleet import Submitter, fleet
from benchmarks.harness import Finding, Missing, Row, Scale, Target, interleave, ratios
from benchmarks.peers import Peers
from benchmarks.work import independent_plan

ROW = Row("throughput", "no-op jobs/s, two workers, all durable, against Dask's tasks/s", Target(3, 10, at_least=True))
ROWS = [ROW]
SLOTS = 50
SIZES = {Scale.FULL: (2000, 5), Scale.QUICK: (1000, 3), Scale.TINY: (20, 1)}
"""Jobs, rounds."""


def measure(scale: Scale, peers: Peers) -> list[Finding]:
    """From submission until the submitter knows the last result."""
    jobs, rounds = SIZES[scale]
    note = f"{jobs} jobs"
    with fleet(2, slots=SLOTS, executor="noop") as system, Submitter(system.address) as submitter:

        def longshore() -> float:
            return jobs / submitter.seconds(independent_plan(jobs))

        longshore()
        try:
            with Dask(peers.dask()) as dask:
                dask.tasks(jobs)
                found = interleave({"Longshore": longshore, "Dask": lambda: jobs / dask.tasks(jobs)}, rounds)
        except Missing as error:
            alone = interleave({"Longshore": longshore}, rounds)
            return [Finding(ROW, sides=alone, side_unit="/s", note=note, missing=f"Dask is not available: {error}")]
    return [Finding(ROW, ratios(found["Longshore"], found["Dask"]), found, "/s", note)]
