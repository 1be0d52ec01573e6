"""What a large cache costs a job that does not change it."""

from __future__ import annotations

from benchmarks.commands import timed
from benchmarks.fleet import LONGSHORE, fleet, scratch
from benchmarks.harness import Finding, Row, Scale, Series, Target, interleave
from benchmarks.peers import Peers
from benchmarks.work import IMAGE, repository

ROW = Row("cache", "large cache that the job does not change: extra time of the job", Target(1.0, 0.1), "s")
ROWS = [ROW]
SIZES = {Scale.FULL: (500, 3), Scale.QUICK: (50, 2), Scale.TINY: (1, 1)}
"""Megabytes, in files of one megabyte, rounds."""


def measure(scale: Scale, peers: Peers) -> list[Finding]:
    """Whole commands: a job with the cache, and one without; the cache exists after the first, uncounted run."""
    megabytes, rounds = SIZES[scale]
    fill = (
        f"mkdir -p kept; i=0; while [ $i -lt {megabytes} ]; "
        "do [ -e kept/$i ] || head -c 1000000 /dev/urandom >kept/$i; i=$((i+1)); done"
    )
    plain = f"default: {{image: '{IMAGE}'}}\njob:\n  script: ['true']\n"
    full = f'test "$(ls kept | wc -l)" = {megabytes}'
    cached = "  cache: {key: bench, paths: [kept]}\n"
    with scratch() as folder, fleet(1, slots=2) as system:
        filling = repository(folder / "fill" / "project", plain.replace("'true'", f"'{fill}'") + cached)
        using = repository(folder / "use" / "project", plain.replace("'true'", f"'{full}'") + cached)
        without = repository(folder / "without" / "project", plain)
        timed([LONGSHORE, "run"], filling, system.environment())
        found = interleave(
            {
                "with the cache": lambda: timed([LONGSHORE, "run"], using, system.environment()),
                "without": lambda: timed([LONGSHORE, "run"], without, system.environment()),
            },
            rounds,
        )
    pairs = zip(found["with the cache"].values, found["without"].values, strict=True)
    extra = Series(tuple(late - early for late, early in pairs))
    return [Finding(ROW, extra, found, "s", f"{megabytes} MB")]
