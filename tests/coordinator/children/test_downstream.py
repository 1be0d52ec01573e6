"""Pipelines of other projects, in real compiler processes: their own file, facts and variables."""

from __future__ import annotations

from typing import Any

import msgspec

from protocol.compilation import Answer, Compiled, NotCompiled
from protocol.plan import TriggerPlan, Variable
from tests.coordinator.children.conftest import Parent
from tests.support.eventually import DEADLINE

OTHER = "group/other"


def answer(parent: Parent, *, inputs: dict[str, str] | None = None, **fields: Any) -> Answer:
    """The answer for the pipeline of the fixture's project, started by a job of another one."""
    trigger = TriggerPlan(project=OTHER, inputs=inputs or {})
    known = {"trigger": trigger, "job_id": 70, "file": "theirs.yml"}
    request = msgspec.structs.replace(parent.request(), **(known | fields))
    return parent.compiler.compile(request).result(DEADLINE)


def compiled(parent: Parent, **fields: Any) -> Compiled:
    found = answer(parent, **fields)
    assert isinstance(found, Compiled), found
    return found


def test_its_pipeline_is_that_of_its_own_branch_with_variables_and_inputs_of_the_job(parent: Parent) -> None:
    parent.project.write("jobs.yml", ".base: {image: alpine}\n")
    parent.project.write(
        "theirs.yml",
        """
spec: {inputs: {count: {type: number}}}
---
include: jobs.yml
variables: {OWN: file, GIVEN: file}
job:
  extends: .base
  parallel: $[[ inputs.count ]]
  script: [x]
  rules:
    - if: $CI_PIPELINE_SOURCE == "pipeline" && $GIVEN == "ours" && $OWN == "project"
      changes: [never.txt]
""",
    )
    parent.commit()
    facts = {
        "CI_MERGE_REQUEST_IID": "1",
        "CI_PARENT_PIPELINE_ID": "3",
        "CI_PIPELINE_NAME": "old",
        "CI_COMMIT_REF_NAME": "topic",
        "CI_COMMIT_TITLE": "title",
    }
    known = parent.request().predefined
    given = [Variable(key=key, value=value, raw=True) for key, value in facts.items()]

    plan = compiled(
        parent,
        inputs={"count": "2"},
        predefined=[*known, *given],
        project_variables=[Variable(key="OWN", value="project")],
        variables=[Variable(key="GIVEN", value="ours")],
        upstream_project="4711",
    ).plan

    assert [job.name for job in plan.jobs] == ["job 1/2", "job 2/2"]
    assert plan.jobs[0].image is not None
    found = {variable.key: variable.value for variable in plan.predefined}
    assert found.keys().isdisjoint({"CI_MERGE_REQUEST_IID", "CI_PARENT_PIPELINE_ID", "CI_PIPELINE_NAME"})
    assert (found["CI_COMMIT_BRANCH"], found["CI_COMMIT_BEFORE_SHA"]) == ("topic", "0" * 40)
    assert (found["CI_UPSTREAM_PIPELINE_ID"], found["CI_UPSTREAM_JOB_ID"]) == ("7", "70")
    assert found["CI_UPSTREAM_PROJECT_ID"] == "4711"
    assert plan.name == "title"


def test_errors_of_its_file_name_the_project(parent: Parent) -> None:
    parent.project.write("theirs.yml", "job: {script: [x], stage: nowhere}\n")
    parent.commit()
    bad, missing = answer(parent), answer(parent, file="no.yml")
    assert isinstance(bad, NotCompiled)
    assert isinstance(missing, NotCompiled)
    assert bad.problems[0].startswith(f"{OTHER}:theirs.yml:1: job.stage: unknown stage 'nowhere'")
    assert missing.problems == [f"{OTHER}:no.yml: the files of that project's run do not have this pipeline file"]
