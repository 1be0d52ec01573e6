"""From a pipeline file to a submission."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.submit.choice import Choice
from cli.submit.compile import compile_for_run
from pipeline.includes.fetching import TEMPLATES_REF, Fetching
from protocol.plan import IncludeOptions
from tests.support.project import Project


def test_the_plan_says_where_includes_of_children_come_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = Project(tmp_path / "project")
    project.write(".gitlab-ci.yml", "job: {script: [x]}\n")
    monkeypatch.chdir(tmp_path)
    fetching = Fetching(server="https://ann:secret@git.test", allow_local=True, cache=tmp_path)
    mapped = {"group/ci": Path("mapped")}
    made = compile_for_run(project.root / ".gitlab-ci.yml", [], Choice(), mapped, {}, None, fetching=fetching)
    assert made.plan.includes == IncludeOptions(
        server="https://git.test/",
        templates=TEMPLATES_REF,
        allow_local=True,
        projects={"group/ci": str(tmp_path / "mapped")},
    )
