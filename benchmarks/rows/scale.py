"""Costs that grow with work: time per job, and the coordinator's memory with a large fleet and a long history."""

from __future__ import annotations

import re
import time
from pathlib import Path

from benchmarks.crowd import Crowd
from benchmarks.fleet import PATIENCE, BenchmarkFailed, Submitter, fleet
from benchmarks.harness import Finding, Row, Scale, Series, Target
from benchmarks.peers import Peers
from benchmarks.work import independent_plan
from protocol.client import Client

FLAT = Row("flat", "time per job, many jobs against 1,000", Target(1.5, 1.1))
MEMORY = Row("memory", "coordinator's memory with many workers, active and finished jobs", Target(300, 120), "MB")
ROWS = [MEMORY, FLAT]
JOBS_PER_RUN = 1000
SIZES = {Scale.FULL: (100, 1000, 10), Scale.QUICK: (10, 1000, 10), Scale.TINY: (1, 20, 2)}
"""Runs, workers of the crowd, slots of each."""
RUNS_AT_ONCE = 10
SMALL_ROUNDS = 3


def measure(scale: Scale, peers: Peers) -> list[Finding]:
    """Runs the jobs first; they are the history when the crowd of busy workers connects."""
    runs, workers, slots = SIZES[scale]
    jobs = JOBS_PER_RUN if scale is not Scale.TINY else 20
    with fleet(2, slots=50, executor="noop") as system:
        coordinator, *noop_workers = system.processes
        with Submitter(system.address) as submitter:
            submitter.seconds(independent_plan(jobs))
            small = [submitter.seconds(independent_plan(jobs)) / jobs for _ in range(SMALL_ROUNDS)]
            large = submitter.seconds(*[independent_plan(jobs)] * runs, at_once=RUNS_AT_ONCE) / (jobs * runs)
            small += [submitter.seconds(independent_plan(jobs)) / jobs for _ in range(SMALL_ROUNDS)]
        for process in noop_workers:
            process.terminate()
            process.wait()
        idle = memory(coordinator.pid)
        busy = _with_crowd(system.address, coordinator.pid, workers, slots)
    per_job = Series((large * 1e6,)), Series(tuple(value * 1e6 for value in small))
    flat = Finding(
        FLAT,
        Series(tuple(large / value for value in small)),
        {"many": per_job[0], f"{jobs:,} jobs": per_job[1]},
        "us/job",
        f"{runs} runs of {jobs:,}, {RUNS_AT_ONCE} at a time",
    )
    note = f"{workers:,} workers, {workers * slots:,} active, {jobs * (runs + 2 * SMALL_ROUNDS + 1):,} finished"
    return [Finding(MEMORY, Series((busy,)), {"idle": Series((idle,)), "busy": Series((busy,))}, "MB", note), flat]


def _with_crowd(address: str, pid: int, workers: int, slots: int) -> float:
    crowd = Crowd(address, workers, slots=slots, job_seconds=None)
    deadline = time.monotonic() + PATIENCE
    try:
        with Client(address, timeout=60.0) as client:
            for _ in range(max(1, workers * slots // JOBS_PER_RUN)):
                client.submit_run(independent_plan(min(JOBS_PER_RUN, workers * slots)))
                crowd.work(0.1)
            while crowd.running < workers * slots:
                crowd.work(0.1)
                if time.monotonic() > deadline:
                    raise BenchmarkFailed(f"only {crowd.running} of {workers * slots} jobs are running")
            client.list_runs(1)
            return memory(pid)
    finally:
        crowd.close()


def memory(pid: int) -> float:
    """Resident memory of a process, in MB of a million bytes."""
    found = re.search(r"^VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    if not found:
        raise BenchmarkFailed(f"process {pid} has no resident memory")
    return int(found[1]) * 1024 / 1e6
