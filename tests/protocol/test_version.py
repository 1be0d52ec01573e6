"""The version that Longshore tells is the one that its package has."""

from __future__ import annotations

import tomllib
from pathlib import Path

from protocol import VERSION


def test_the_version_is_that_of_the_project() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert project["version"] == VERSION
