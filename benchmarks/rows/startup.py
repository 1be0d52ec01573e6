"""Startup time of the command line: `longshore --help` against `python -c pass`."""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks.commands import timed
from benchmarks.fleet import LONGSHORE
from benchmarks.harness import Finding, Row, Scale, Target, compare, interleave
from benchmarks.peers import Peers

ROW = Row("startup", "`longshore --help` against `python -c pass`", Target(8, 4))
ROWS = [ROW]
ROUNDS = {Scale.FULL: 30, Scale.QUICK: 15, Scale.TINY: 1}


def measure(scale: Scale, peers: Peers) -> list[Finding]:
    """Both with the same Python, after one uncounted call of each."""
    contenders = {
        "Longshore": lambda: timed([LONGSHORE, "--help"], Path("/")) * 1000,
        "python": lambda: timed([sys.executable, "-c", "pass"], Path("/")) * 1000,
    }
    interleave(contenders, 1)
    found = interleave(contenders, ROUNDS[scale])
    return [compare(ROW, found["Longshore"], found["python"], other="python", unit="ms")]
