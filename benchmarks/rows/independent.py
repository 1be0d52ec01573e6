"""40 independent jobs on 2 slots, against Docker's SDK on 2 threads, and against gitlab-ci-local."""

from __future__ import annotations

import subprocess
import sys

from benchmarks.commands import timed
from benchmarks.fleet import LONGSHORE, ROOT, fleet, scratch
from benchmarks.harness import Finding, Missing, Row, Scale, Target, compare, interleave
from benchmarks.peers import Peers
from benchmarks.work import IMAGE, independent_file, repository

LIMIT = Row("independent-limit", "independent `true` jobs, 2 slots, against the SDK on 2 threads", Target(1.25, 1.05))
PEER = Row("independent-peer", "the same against gitlab-ci-local", Target(0.30, 0.22))
ROWS = [LIMIT, PEER]
SLOTS = 2
SIZES = {Scale.FULL: (40, 4), Scale.QUICK: (20, 1), Scale.TINY: (2, 1)}
"""Jobs, rounds."""


def measure(scale: Scale, peers: Peers) -> list[Finding]:
    """Longshore and gitlab-ci-local as whole commands; of the SDK only the work, without the import time."""
    jobs, rounds = SIZES[scale]
    with scratch() as folder, fleet(1, slots=SLOTS) as system:
        project = repository(folder / "project", independent_file(jobs))

        def longshore() -> float:
            return timed([LONGSHORE, "run"], project, system.environment())

        contenders = {"Longshore": longshore, "SDK": lambda: sdk(jobs)}
        missing = ""
        try:
            command = [*peers.gitlab_ci_local(), "--concurrency", str(SLOTS), "--helper-image", IMAGE]
            contenders["gitlab-ci-local"] = lambda: timed(command, project)
        except Missing as error:
            missing = f"gitlab-ci-local is not available: {error}"
        found = interleave(contenders, rounds)
    note = f"{jobs} jobs"
    against_peer = compare(PEER, found["Longshore"], found.get("gitlab-ci-local"), other="gitlab-ci-local", note=note)
    if missing:
        against_peer = Finding(PEER, sides={"Longshore": found["Longshore"]}, note=note, missing=missing)
    return [compare(LIMIT, found["Longshore"], found["SDK"], other="SDK", note=note), against_peer]


def sdk(jobs: int) -> float:
    """Seconds of the SDK's own work."""
    command = [sys.executable, "-m", "benchmarks.sdk_limit", str(jobs), str(SLOTS), IMAGE]
    return float(subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout)
