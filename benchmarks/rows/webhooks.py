"""Webhooks beside running jobs: how soon they are answered, and what workers and dashboards notice of them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.fleet import LONGSHORE, ROOT, BenchmarkFailed, Fleet, fleet, until
from benchmarks.harness import Finding, Row, Scale, Series, Target
from benchmarks.peers import Peers
from benchmarks.rows.feed import latencies
from protocol import messages as m
from protocol.client import Client
from protocol.projects import ProjectSpec

ANSWER = Row("webhooks", "answer to a webhook, 200 a second beside 50 running jobs, p99", Target(50, 20), "ms")
BESIDE = Row("webhooks-feed", "status frame to event, p99, with these webhooks against without", Target(1.2, 1.05))
ROWS = [ANSWER, BESIDE]
SIZES = {Scale.FULL: (60.0, 3), Scale.QUICK: (10.0, 1), Scale.TINY: (1.5, 1)}
"""Seconds, rounds."""
RATE = 200.0
JOBS = 50
SECRET = "the secret of a benchmark"


def measure(scale: Scale, peers: Peers) -> list[Finding]:
    """Each delivery must have been accepted, and must have left exactly one trigger."""
    seconds, rounds = SIZES[scale]
    quiet, busy, answers = [], [], []
    for number in range(rounds):
        with fleet(0, slots=1) as system:
            url = _start_web(system, f"bench/round-{number}")
            quiet.append(latencies(system, JOBS, seconds).quantile(0.99))
            with _webhooks(url, seconds) as answered:
                busy.append(latencies(system, JOBS, seconds).quantile(0.99))
            answers.append(Series(tuple(answered)))
            _check_triggers(system, f"bench/round-{number}", int(RATE * seconds))
    p50, p99 = (Series(tuple(one.quantile(share) for one in answers)) for share in (0.5, 0.99))
    note = f"{rounds * int(RATE * seconds):,} deliveries, {JOBS} jobs of 1 s at a time"
    with_, without = Series(tuple(busy)), Series(tuple(quiet))
    ratio = Series(tuple(a / b for a, b in zip(busy, quiet, strict=True)))
    return [
        Finding(ANSWER, p99, {"p50": p50, "p99": p99}, "ms", note),
        Finding(BESIDE, ratio, {"with": with_, "without": without}, "ms", note),
    ]


def _start_web(system: Fleet, project: str) -> str:
    """Starts a web server and adds a project; gives the address of its hook."""
    with Client(system.address) as client:
        client.request(m.AddProject, m.Done, project=ProjectSpec(name=project), hook_secret=SECRET)
    system.start([LONGSHORE, "web", "--bind", "127.0.0.1:0"], "web")
    log = system.folder / "web.log"
    lines = until(lambda: [line for line in log.read_text().splitlines() if line.startswith("http")], "no web server")
    return f"{lines[0]}/hooks/{project}"


@contextmanager
def _webhooks(url: str, seconds: float) -> Iterator[list[float]]:
    """Sends webhooks meanwhile; the list has the answers' milliseconds afterwards."""
    command = [sys.executable, "-m", "benchmarks.hook_sender", url, SECRET, str(RATE), str(seconds)]
    answered: list[float] = []
    sender = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        yield answered
        output, _ = sender.communicate()
    finally:
        sender.kill()
        sender.wait()
    for line in output.splitlines():
        status, milliseconds = line.split()
        if status not in ("202", "200"):  # 200: the client asked again, because the coordinator took more than 2 s
            raise BenchmarkFailed(f"a webhook was answered with {status}")
        answered.append(float(milliseconds))
    if len(answered) != int(RATE * seconds):
        raise BenchmarkFailed(f"{len(answered)} webhooks were answered")


def _check_triggers(system: Fleet, project: str, count: int) -> None:
    """Raises BenchmarkFailed unless there is one trigger for each delivery."""
    commits: list[str] = []
    before: int | None = None
    with Client(system.address, timeout=60.0) as client:
        while page := client.request(m.ListTriggers, m.TriggerList, project=project, before=before).triggers:
            commits += [trigger.sha for trigger in page]
            before = page[-1].id
    if len(commits) != count or len(set(commits)) != count:
        raise BenchmarkFailed(f"{count} deliveries left {len(commits)} triggers of {len(set(commits))} commits")
