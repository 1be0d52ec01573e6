"""A large artifact from job to job, on one worker and from one to another, against `docker cp` out and in."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from uuid import uuid4

from benchmarks.commands import timed
from benchmarks.fleet import Fleet, fleet, scratch
from benchmarks.harness import Finding, Measure, Row, Scale, Target, compare, interleave
from benchmarks.peers import Peers
from benchmarks.stamps import run_with_stamps, stamp
from benchmarks.work import IMAGE, repository

LOCAL = Row("artifact", "large artifact, job to job on one worker, against `docker cp` out and in", Target(1.2, 0.3))
REMOTE = Row("artifact-remote", "the same from one worker to another", Target(2, 1.2))
ROWS = [LOCAL, REMOTE]
SIZES = {Scale.FULL: (500, 5_000, 3), Scale.QUICK: (50, 500, 2), Scale.TINY: (1, 10, 1)}
"""Megabytes of one file that does not compress, further small files, rounds."""
ORIGIN, GOAL = "origin", "goal"
"""Labels of the workers."""


def files_script(megabytes: int, files: int) -> str:
    """A script that makes the files, below `out`."""
    small = f'i=0; while [ $i -lt {files} ]; do echo "file $i" >out/small/$i; i=$((i+1)); done'
    return f"mkdir -p out/small; head -c {megabytes}000000 /dev/urandom >out/large; {small}"


def measure(scale: Scale, peers: Peers) -> list[Finding]:
    """From the last instruction of the job that has made the files to the first of the one that finds them."""
    megabytes, files, rounds = SIZES[scale]
    note = f"{megabytes} MB and {files:,} small files"
    script = files_script(megabytes, files)
    with scratch() as folder, _copied(folder, script) as docker_cp, fleet(0, slots=2) as system:
        for label in (ORIGIN, GOAL):
            system.start_worker(label, "--slots", "2", "--label", label)
        contenders: dict[str, Measure] = {
            "on one worker": _Gap(folder, system, script, files, goal=ORIGIN),
            "to another": _Gap(folder, system, script, files, goal=GOAL),
            "docker cp": docker_cp,
        }
        found = interleave(contenders, rounds)
    return [
        compare(row, found[name], found["docker cp"], other="docker cp", note=note)
        for row, name in ((LOCAL, "on one worker"), (REMOTE, "to another"))
    ]


class _Gap:
    """Measures a run of two jobs: one makes the files, one on the worker labelled `goal` counts them."""

    def __init__(self, folder: Path, system: Fleet, script: str, files: int, *, goal: str) -> None:
        pipeline = f"""\
default: {{image: "{IMAGE}"}}
make:
  tags: [{ORIGIN}]
  script: ['{script}', '{stamp("last")}']
  artifacts: {{paths: [out]}}
use:
  tags: [{goal}]
  needs: [make]
  script: ['{stamp("first")}', 'test "$(ls out/small | wc -l)" = {files} && test -s out/large']
"""
        self._project = repository(folder / f"to-{goal}", pipeline)
        self._system = system

    def __call__(self) -> float:
        found = run_with_stamps(self._project, self._system.environment(), "last", "first")
        return found["first"] - found["last"]


@contextmanager
def _copied(folder: Path, script: str) -> Iterator[_Copies]:
    """`docker cp` of the files out of a container, and into new ones."""
    copies = _Copies(folder, f"longshore-bench-{uuid4().hex[:8]}", count())
    try:
        copies.make(script)
        yield copies
    finally:
        copies.remove()


class _Copies:
    """Seconds of each copy out of the container with the files and into a new one; `remove` removes all of them."""

    def __init__(self, folder: Path, name: str, numbers: Iterator[int]) -> None:
        self._folder = folder
        self._name = name
        self._numbers = numbers
        self._made: list[str] = []

    def make(self, script: str) -> None:
        """Makes the container that has the files."""
        self._made.append(self._name)
        _docker("run", "--name", self._name, IMAGE, "sh", "-c", f"cd / && {script}")

    def __call__(self) -> float:
        target = f"{self._name}-{next(self._numbers)}"
        self._made.append(target)
        _docker("create", "--name", target, IMAGE, "true")
        copy = f"docker cp {self._name}:/out copied && docker cp copied {target}:/out"
        try:
            return timed(["sh", "-c", copy], self._folder)
        finally:
            shutil.rmtree(self._folder / "copied", ignore_errors=True)

    def remove(self) -> None:
        """Removes all containers."""
        subprocess.run(["docker", "rm", "--force", *self._made], capture_output=True)


def _docker(*words: str) -> None:
    timed(["docker", *words], Path("/"))
