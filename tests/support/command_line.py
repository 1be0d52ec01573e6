"""Runs `longshore` in a process of its own, as a user does."""

from __future__ import annotations

import subprocess
import sys

from tests.conftest import ROOT
from tests.support.project import Project


def longshore(project: Project, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs a verb in the project's folder, with no more of the environment than is given."""
    return subprocess.run(
        [sys.executable, "-m", "cli", *arguments],
        cwd=project.root,
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "COLUMNS": "120", **environment},
    )
