"""What a compiler process may do while it reads a child's file, tried in a real one that compiles nothing."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from compiler import confinement
from tests.coordinator.children.conftest import Parent, local

PROBE = """
import os, runpy, socket, sys
from pathlib import Path
import compiler.task
from protocol.errors import LongshoreError

def tried(action):
    try:
        action()
    except OSError as error:
        return type(error).__name__
    return "done"

def probe(subject, *rest, **options):
    children = Path({children!r})
    scratch = Path.cwd()
    raise LongshoreError("; ".join([
        "passwd " + tried(lambda: Path("/etc/passwd").read_text()),
        "other file " + tried(lambda: Path({other!r}).read_text()),
        "store " + tried(lambda: os.listdir(children / "store")),
        "new file " + tried(lambda: (scratch / "new").write_text("x")),
        "network " + tried(lambda: socket.create_connection(("127.0.0.1", 1))),
        "engine " + tried(lambda: socket.socket(socket.AF_UNIX)),
        "process " + tried(lambda: os.kill(os.getppid(), 0)),
        "snapshot " + str(subject.source.read("child.yml")),
    ]))

compiler.task.compile_subject = probe
runpy.run_module("compiler", run_name="__main__")
"""


@pytest.mark.skipif(confinement.landlock_version() < 6, reason="this kernel's Landlock is older, or absent")
@pytest.mark.parametrize("includes", ["none", "public", "own"])
def test_a_childs_file_is_read_without_any_right_but_to_the_snapshot(
    parent: Parent, tmp_path: Path, includes: str
) -> None:
    parent.project.write("child.yml", "hello")
    parent.commit()
    other = tmp_path / "other"
    other.write_text("secret")
    program = PROBE.format(children=str(parent.state / "children"), other=str(other))
    parent.start(command=[sys.executable, "-c", program], includes=includes)

    [problem] = parent.problems(local("child.yml"))

    assert problem.split("; ") == [
        *(f"{what} PermissionError" for what in ("passwd", "other file", "store", "new file", "network", "engine")),
        "process PermissionError",
        "snapshot b'hello'",
    ]
