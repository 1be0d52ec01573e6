"""Gap between a dependency's last instruction and the first of the job held at its gate, on the same worker."""

from __future__ import annotations

import re
from itertools import pairwise

from benchmarks.fleet import BenchmarkFailed, Submitter, fleet
from benchmarks.harness import Finding, Row, Scale, Series, Target
from benchmarks.peers import Peers
from benchmarks.work import chain_plan

ROW = Row(
    "gate", "gap between a dependency's last instruction and the first of the held dependent, p50", Target(20, 3), "ms"
)
ROWS = [ROW]
LINKS = {Scale.FULL: 40, Scale.QUICK: 12, Scale.TINY: 2}
SCRIPT = 'echo "first=$EPOCHREALTIME="; sleep 0.8; echo "last=$EPOCHREALTIME="'
"""Long enough that the next job is ready at its gate. The shell reads the clock itself, without another process."""
STAMP = re.compile(rb"(first|last)=([0-9.]+)=")


def measure(scale: Scale, peers: Peers) -> list[Finding]:
    """A single chain; both times are from this machine's clock."""
    links = LINKS[scale]
    with fleet(1, slots=2) as system, Submitter(system.address) as submitter:
        submitter.seconds(chain_plan(links + 1, SCRIPT))
        run = submitter.client.list_runs(1)[0].id
        stamps = []
        for number in range(links + 1):
            _, log = submitter.client.get_log(run, f"job {number}")
            found = {name.decode(): float(value) for name, value in STAMP.findall(log)}
            if found.keys() != {"first", "last"}:
                raise BenchmarkFailed(f"the log of job {number} has no stamps: {log!r}")
            stamps.append(found)
    gaps = Series(tuple((after["first"] - before["last"]) * 1000 for before, after in pairwise(stamps)))
    return [Finding(ROW, gaps, {"Longshore": gaps}, "ms", f"{links} links")]
