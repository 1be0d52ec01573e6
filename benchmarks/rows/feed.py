"""Latency from a worker's status frame to the subscriber's event, with 100 busy workers."""

from __future__ import annotations

import subprocess
import sys
import time

from benchmarks.crowd import Crowd
from benchmarks.fleet import ROOT, Fleet, fleet
from benchmarks.harness import Finding, Row, Scale, Series, Target
from benchmarks.peers import Peers
from benchmarks.work import independent_plan
from protocol.client import Client

ROW = Row("feed", "status frame at the worker to event at a subscriber, 100 workers busy, p99", Target(20, 5), "ms")
ROWS = [ROW]
WORKERS = 100
JOB_SECONDS = 1.0
LINE_EVERY = 0.25
WARM_UP = 1.0
"""Seconds until the workers, which all start at once, are out of step."""
FEWEST_STATUSES = 200
"""A machine that is busy with something else takes longer."""
SIZES = {Scale.FULL: (15.0, 3), Scale.QUICK: (6.0, 1), Scale.TINY: (1.5, 1)}
"""Seconds, rounds."""


def measure(scale: Scale, peers: Peers) -> list[Finding]:
    """Each worker runs one-second jobs in succession, with four log lines each: 300 statuses/s, 300 lines/s."""
    seconds, rounds = SIZES[scale]
    measured = []
    for _ in range(rounds):
        with fleet(0, slots=1) as system:
            measured.append(latencies(system, WORKERS, seconds))
    p99 = Series(tuple(one.quantile(0.99) for one in measured))
    p50 = Series(tuple(one.quantile(0.50) for one in measured))
    note = f"{sum(len(one.values) for one in measured)} events"
    return [Finding(ROW, p99, {"p50": p50, "p99": p99}, "ms", note)]


def latencies(system: Fleet, workers: int, seconds: float) -> Series:
    """Milliseconds from each status frame of so many workers to the event at a subscriber."""
    watcher = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.watcher", system.address], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    crowd = Crowd(system.address, workers, slots=1, job_seconds=JOB_SECONDS, line_every=LINE_EVERY)
    try:
        assert watcher.stdout is not None
        watcher.stdout.readline()
        with Client(system.address) as client:
            client.submit_run(independent_plan(int(workers * (seconds + WARM_UP + 1) / JOB_SECONDS)))
        since = time.monotonic() + WARM_UP
        while time.monotonic() < since + seconds or sum(at > since for at in crowd.sent.values()) < FEWEST_STATUSES:
            crowd.work(0.1)
    finally:
        watcher.terminate()
        crowd.close()
    seen = {}
    for line in watcher.stdout:
        attempt, status, at = line.split()
        seen[attempt, status] = float(at)
    watcher.wait()
    return Series(tuple((at - crowd.sent[key]) * 1000 for key, at in seen.items() if crowd.sent.get(key, 0.0) > since))
