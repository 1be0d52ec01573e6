"""Fixtures of these tests: a project, and a receiver of its workspaces."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.project import GIT_ENVIRONMENT, Project
from tests.support.received_workspaces import Receiver


@pytest.fixture(autouse=True)
def own_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Caches in the test's folder, and none of the user's settings."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for key in ("GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM"):
        monkeypatch.setenv(key, GIT_ENVIRONMENT[key])


@pytest.fixture
def receiver(tmp_path: Path) -> Receiver:
    """A coordinator and worker that have nothing yet."""
    return Receiver(tmp_path / "received")


@pytest.fixture
def repository(tmp_path: Path) -> Project:
    """A repository with three commits on main: `a`, `run.sh` (executable) and `dir/b`."""
    made = Project(tmp_path / "repository")
    made.write("a", "one\n")
    made.write("dir/b", "b\n")
    made.write("run.sh", "#!/bin/sh\n").chmod(0o755)
    made.commit("first")
    made.write("a", "one\ntwo\n")
    made.commit("second")
    made.write("a", "one\ntwo\nthree\n")
    made.commit("third")
    return made
