"""The client's share of a run whose repository has very many files: the first, and with none changed since."""

from __future__ import annotations

from benchmarks.commands import Usage, used
from benchmarks.fleet import LONGSHORE, fleet, scratch
from benchmarks.harness import Finding, Row, Scale, Series, Target
from benchmarks.peers import Peers
from benchmarks.trees import large_repository
from benchmarks.work import independent_file

TIME = Row(
    "many-files", "200,000 unchanged files, the client's CPU time beyond that of `git status`", Target(2.0, 0.5), "s"
)
MEMORY = Row("many-files-memory", "the same: the client's memory at its peak", Target(150, 75), "MB")
FIRST = Row(
    "many-files-first", "the first snapshot of all of them: the client's memory at its peak", Target(300, 200), "MB"
)
ROWS = [TIME, MEMORY, FIRST]
SIZES = {Scale.FULL: (200_000, 3), Scale.QUICK: (20_000, 2), Scale.TINY: (2_500, 1)}
"""Files, rounds."""
FILE_BYTES = 200


def measure(scale: Scale, peers: Peers) -> list[Finding]:
    """Whole commands, after a run that has seen all files; nothing is done in the job."""
    files, rounds = SIZES[scale]
    ours: list[Usage] = []
    theirs: list[Usage] = []
    with scratch() as folder, fleet(1, slots=1, executor="noop") as system:
        megabytes = max(1, files * FILE_BYTES // 1_000_000)
        tree = large_repository(folder / "project", independent_file(1), files=files, megabytes=megabytes)
        command, environment = [LONGSHORE, "run", "--detach"], system.environment()
        first = Series((used([LONGSHORE, "run"], tree.folder, environment).megabytes,))
        used([LONGSHORE, "run"], tree.folder, environment)  # files that were written just now are looked at twice
        for _ in range(rounds):
            ours.append(used(command, tree.folder, environment))
            theirs.append(used(["git", "status"], tree.folder))
    times = {
        "Longshore": Series(tuple(one.seconds for one in ours)),
        "git status": Series(tuple(one.seconds for one in theirs)),
    }
    extra = Series(tuple(one.seconds - other.seconds for one, other in zip(ours, theirs, strict=True)))
    memory = Series(tuple(one.megabytes for one in ours))
    note = f"{files:,} files"
    return [
        Finding(TIME, extra, times, "s", note),
        Finding(MEMORY, memory, {"Longshore": memory}, "MB", note),
        Finding(FIRST, first, {"Longshore": first}, "MB", note),
    ]
