"""Which jobs changed files touch."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline import compile_pipeline
from pipeline.touched import touched_jobs
from tests.support.project import Project

FILE = """
variables: {WHERE: web}
always: {script: [x]}
api:
  script: [x]
  rules: [{changes: [api/**/*]}, {when: manual}]
web:
  script: [x]
  rules: [{changes: {paths: ["$WHERE/*.js"]}}, {if: $CI}]
docs: {script: [x], only: {changes: ["*.md", docs/**/*]}}
either:
  script: [x]
  rules: [{if: $NO}, {changes: [a]}, {changes: [b], when: on_success}, {when: on_success}]
"""


@pytest.mark.parametrize(
    ("changed", "names"),
    [
        (["other"], set()),
        (["api/deep/x.py", "README"], {"api"}),
        (["web/x.js"], {"web"}),
        (["web/deep/x.js"], set()),
        (["b"], {"either"}),
    ],
)
def test_a_job_is_touched_by_what_its_rules_name(tmp_path: Path, changed: list[str], names: set[str]) -> None:
    project = Project(tmp_path / "project")
    compiled = compile_pipeline(project.write(".gitlab-ci.yml", FILE))
    assert touched_jobs(compiled, changed) == names | {"always"}
