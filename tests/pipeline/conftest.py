"""The one fixture of these tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.pipeline.project import Project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """An empty folder that is no git repository yet."""
    return Project(tmp_path / "project")
