"""Plans of pipelines of our own come to what GitLab's public reference says; see tests/conformance/plans.yml."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from cli.main import cli
from protocol.errors import PipelineFileError
from tests.support.project import Project

CASES: dict[str, dict[str, Any]] = yaml.safe_load(
    (Path(__file__).parents[1] / "conformance" / "plans.yml").read_text(encoding="utf-8")
)


def wanted(job: str | dict[str, Any]) -> dict[str, Any]:
    """A job of the table with all that it leaves out."""
    return {"when": "on_success", "allowed": False, "needs": None} | ({"stage": job} if isinstance(job, str) else job)


def found(job: dict[str, Any]) -> dict[str, Any]:
    """A job of `longshore plan --json` in the table's words."""
    needs = job["needs"]
    if needs is not None:
        needs = [
            each["job"] + "?" * each.get("optional", False) + "!" * (not each.get("artifacts", True)) for each in needs
        ]
    return {"stage": job["stage"], "when": job["when"], "allowed": job["allow_failure"], "needs": needs}


@pytest.fixture
def project_of(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.chdir(project.root)
    return project


@pytest.mark.parametrize("case", CASES)
def test_a_file_means_what_the_reference_says(
    project_of: Project, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    told = CASES[case]
    for name, text in {**told.get("files", {}), ".gitlab-ci.yml": told["file"]}.items():
        project_of.write(name, text)
    project_of.commit()
    if parts := told.get("error"):
        with pytest.raises(PipelineFileError) as caught:
            cli.main(["plan", "--json"], standalone_mode=False)
        for part in parts:
            assert part in str(caught.value)
        return
    cli.main(["plan", "--json"], standalone_mode=False)
    jobs = {job["name"]: found(job) for job in json.loads(capsys.readouterr().out) if job["when"] != "never"}
    assert jobs == {name: wanted(job) for name, job in told["plan"].items()}
