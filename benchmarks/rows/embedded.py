"""One job by `longshore run` from a cold start, coordinator and worker included, against `docker run`."""

from __future__ import annotations

from benchmarks.commands import timed
from benchmarks.fleet import LONGSHORE, Fleet, scratch
from benchmarks.harness import Finding, Row, Scale, Series, Target, interleave
from benchmarks.peers import Peers
from benchmarks.work import IMAGE, independent_file, repository

ROW = Row("embedded", "embedded `longshore run` of one `true` job, extra time over `docker run`", Target(0.8, 0.3), "s")
ROWS = [ROW]
ROUNDS = {Scale.FULL: 10, Scale.QUICK: 4, Scale.TINY: 1}


def measure(scale: Scale, peers: Peers) -> list[Finding]:
    """Whole commands; the state directory exists after the first, uncounted run."""
    with scratch() as folder:
        project = repository(folder / "project", independent_file(1))
        environment = Fleet(folder).environment()
        contenders = {
            "Longshore": lambda: timed([LONGSHORE, "run"], project, environment),
            "docker run": lambda: timed(["docker", "run", "--rm", IMAGE, "true"], project),
        }
        interleave(contenders, 1)
        found = interleave(contenders, ROUNDS[scale])
    pairs = zip(found["Longshore"].values, found["docker run"].values, strict=True)
    return [Finding(ROW, Series(tuple(ours - theirs for ours, theirs in pairs)), found, "s")]
