"""Runs of a large repository: against `docker run -v`, against `git clone`, and what they take of wire and disk."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from uuid import uuid4

from benchmarks.commands import timed
from benchmarks.disk import belongings, docker_root, size_of, used
from benchmarks.fleet import LONGSHORE, BenchmarkFailed, Fleet, fleet, scratch, until
from benchmarks.harness import Finding, Missing, Row, Scale, Series, Target, interleave, ratios
from benchmarks.peers import Peers
from benchmarks.relay import Relay
from benchmarks.trees import Tree, large_repository, sent_by_git
from benchmarks.work import IMAGE

SEEN = Row("repository", "large repository, chain of 4 jobs, seen before, against four `docker run -v`", Target(2, 1.2))
CHANGED = Row("repository-changed", "the same, one small file changed: extra time", Target(2.0, 0.8), "s")
NEW = Row("repository-new", "the same, never seen, against `git clone file://` and checkout", Target(2.5, 1.5))
WIRE = Row("repository-wire", "bytes to coordinator, or to worker, one small file changed", Target(1, 0.05), "MB")
DISK = Row(
    "repository-disk",
    "disk of 8 jobs at a time beyond what they write, in repositories",
    Target(1.1, 1.02),
)
ROWS = [SEEN, CHANGED, NEW, WIRE, DISK]
SIZES = {
    Scale.FULL: (783, 40_000, 3, 2),
    Scale.QUICK: (40, 2_000, 2, 1),
    Scale.TINY: (2, 40, 1, 1),
}
"""Megabytes, files, rounds, rounds of what is never seen."""
JOBS = {Scale.FULL: (4, 8), Scale.QUICK: (4, 8), Scale.TINY: (1, 2)}
"""Jobs of the chain, and jobs at a time."""
WRITTEN = {Scale.FULL: 100, Scale.QUICK: 10, Scale.TINY: 1}
"""Megabytes that each of the jobs at a time writes."""
HOLD = "sleep 600"


def chain_of_lists(length: int) -> str:
    """A pipeline of jobs that list the project's files, one after the other."""
    jobs = "".join(
        f"job {number}:\n  script: [ls]\n  needs: [{f'job {number - 1}' if number else ''}]\n"
        for number in range(length)
    )
    return f"default:\n  image: {IMAGE}\n{jobs}"


def measure(scale: Scale, peers: Peers) -> list[Finding]:
    """All on one repository, each with a fleet of its own; the last one changes its pipeline."""
    megabytes, files, rounds, new_rounds = SIZES[scale]
    chain, at_once = JOBS[scale]
    note = f"{megabytes} MB in {files:,} files"
    with scratch() as folder:
        tree = large_repository(folder / "project", chain_of_lists(chain), files=files, megabytes=megabytes)
        return [
            *_seen(tree, chain, rounds, note),
            _new(tree, folder, new_rounds, note),
            _wire(tree, note),
            _disk(tree, at_once, WRITTEN[scale], note),
        ]


def _seen(tree: Tree, chain: int, rounds: int, note: str) -> list[Finding]:
    loop = f'for i in $(seq {chain}); do docker run --rm -v "$PWD":/w -w /w {IMAGE} ls || exit 1; done'
    with fleet(1, slots=2) as system:

        def run() -> float:
            return timed([LONGSHORE, "run"], tree.folder, system.environment())

        def changed() -> float:
            tree.change()
            return run()

        run()
        found = interleave(
            {"Longshore": run, "docker run -v": lambda: timed(["sh", "-c", loop], tree.folder), "changed": changed},
            rounds,
        )
    same, mounted, other = found["Longshore"], found["docker run -v"], found["changed"]
    extra = Series(tuple(late - early for late, early in zip(other.values, same.values, strict=True)))
    return [
        Finding(SEEN, ratios(same, mounted), {"Longshore": same, "docker run -v": mounted}, "s", note),
        Finding(CHANGED, extra, {"unchanged": same, "changed": other}, "s", note),
    ]


def _new(tree: Tree, folder: Path, rounds: int, note: str) -> Finding:
    clones = count()

    def longshore() -> float:
        with fleet(1, slots=2) as system:
            return timed([LONGSHORE, "run"], tree.folder, system.environment())

    def clone() -> float:
        target = folder / f"clone-{next(clones)}"
        return timed(["git", "clone", "-q", f"file://{tree.folder}", str(target)], folder)

    found = interleave({"Longshore": longshore, "git clone": clone}, rounds)
    return Finding(NEW, ratios(found["Longshore"], found["git clone"]), found, "s", note)


def _wire(tree: Tree, note: str) -> Finding:
    with fleet(0, slots=2) as system, Relay(system.address) as client, Relay(system.address) as worker:
        system.start_worker("relayed", "--slots", "2", address=worker.address)
        system.longshore("login", system.token("operator", client.address))
        environment = system.environment() | {"LONGSHORE_COORDINATOR": client.address}
        timed([LONGSHORE, "run"], tree.folder, environment)
        tree.change()
        client.reset()
        worker.reset()
        timed([LONGSHORE, "run"], tree.folder, environment)
        legs = {"client to coordinator": client.sent, "coordinator to worker": worker.received}
    sides = {name: Series((size / 1e6,)) for name, size in (legs | {"git push": sent_by_git(tree)}).items()}
    return Finding(WIRE, Series((max(legs.values()) / 1e6,)), sides, "MB", note)


def _disk(tree: Tree, at_once: int, megabytes: int, note: str) -> Finding:
    script = f"head -c {megabytes}000000 /dev/urandom >written; echo has written; {HOLD}"
    jobs = "".join(f"job {number}:\n  script: ['{script}']\n" for number in range(at_once))
    (tree.folder / ".gitlab-ci.yml").write_text(f"default:\n  image: {IMAGE}\n{jobs}")
    try:
        root = docker_root()
    except Missing as error:
        return Finding(DISK, note=note, missing=str(error))
    worker = f"bench-{uuid4().hex[:12]}"
    with fleet(0, slots=at_once) as system:
        system.start_worker(worker, "--slots", str(at_once))
        before = used(root, system.folder) - size_of(system.folder)
        with _held(tree, system, at_once):
            taken = belongings(worker)
            grown = used(root, system.folder) - size_of(system.folder) - before
    beyond = taken - at_once * megabytes * 1_000_000
    whole = size_of(tree.folder)  # with its history, which a job finds too
    sides = {"repository": whole, "containers and volumes": taken, "file systems": max(1, grown)}
    measured = {name: Series((size / 1e6,)) for name, size in sides.items()}
    return Finding(
        DISK, Series((beyond / whole,)), measured, "MB", f"{note}, each of {at_once} jobs writes {megabytes} MB"
    )


@contextmanager
def _held(tree: Tree, system: Fleet, jobs: int) -> Iterator[None]:
    """While all jobs of the run have written what they write, and wait."""
    found = re.search(r"\d+", system.longshore("run", "--detach", folder=tree.folder))
    if not found:
        raise BenchmarkFailed("`run --detach` names no run")
    run = found[0]
    try:
        until(lambda: system.longshore("logs", run).count("has written\n") == jobs, "the jobs do not write")
        yield
    finally:
        system.longshore("cancel", run)
        until(lambda: json.loads(system.longshore("show", run, "--json"))["status"] == "canceled", "the run stays")
