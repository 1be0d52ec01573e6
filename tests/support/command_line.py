"""Runs `longshore` in a process of its own, as a user does."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.support import forking
from tests.support.eventually import DEADLINE
from tests.support.project import Project
from tests.support.system import LONGSHORE


def longshore(project: Project, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs a verb in the project's folder, with no more of the environment than is given and the interpreter needs."""
    return run(project.root, *arguments, environment={"COLUMNS": "120", **environment})


def run(folder: Path, *arguments: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """The same in any folder, and with nothing but PATH beside what the interpreter needs."""
    whole = forking.of_the_interpreter(os.environ) | {"PATH": "/usr/bin:/bin", **environment}
    assert forking.can_fork(arguments, whole)
    done = forking.run([str(LONGSHORE), *arguments], cwd=folder, environment=whole, within=DEADLINE)
    return subprocess.CompletedProcess(arguments, done.returncode, done.stdout.decode(), done.stderr.decode())
