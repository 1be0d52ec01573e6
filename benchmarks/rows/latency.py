"""Latency from submitting one no-op job to its result on an idle system, against Dask."""

from __future__ import annotations

from benchmarks.dask_side import Dask
from benchmarks.fleet import Submitter, fleet
from benchmarks.harness import Finding, Missing, Row, Scale, Target, interleave, ratios
from benchmarks.peers import Peers
from benchmarks.work import independent_plan

ROW = Row("latency", "submit-to-result latency of one no-op job against Dask's", Target(0.8, 0.3))
ROWS = [ROW]
SIZES = {Scale.FULL: (20, 10), Scale.QUICK: (20, 3), Scale.TINY: (2, 1)}
"""Consecutive jobs, rounds."""


def measure(scale: Scale, peers: Peers) -> list[Finding]:
    """The mean of each round's jobs, in milliseconds."""
    jobs, rounds = SIZES[scale]
    note = f"{jobs} one after the other"
    with fleet(2, slots=2, executor="noop") as system, Submitter(system.address) as submitter:

        def longshore() -> float:
            return sum(submitter.seconds(independent_plan(1)) for _ in range(jobs)) / jobs * 1000

        longshore()
        try:
            with Dask(peers.dask()) as dask:
                dask.single(jobs)
                contenders = {"Longshore": longshore, "Dask": lambda: dask.single(jobs) / jobs * 1000}
                found = interleave(contenders, rounds)
        except Missing as error:
            alone = interleave({"Longshore": longshore}, rounds)
            return [Finding(ROW, sides=alone, side_unit="ms", note=note, missing=f"Dask is not available: {error}")]
    return [Finding(ROW, ratios(found["Longshore"], found["Dask"]), found, "ms", note)]
