"""Which jobs run again, and what they need of those that do not."""

from __future__ import annotations

from typing import Any

import pytest

from cli.submit.choice import Choice
from cli.submit.reuse import Part, chosen, cut, followers
from protocol.errors import UsageError
from protocol.plan import JobPlan, Need, Plan, TriggerInclude, TriggerPlan


def job(name: str, stage: str, needs: list[Need] | None = None, **fields: Any) -> JobPlan:
    return JobPlan(name=name, stage=stage, needs=needs, script=["x"], **fields)


PLAN = Plan(
    name="p",
    project="group/app",
    project_dir="/builds/group/app",
    stages=["build", "test", "deploy"],
    jobs=[
        job("build", "build"),
        job("docs", "build"),
        job("unit", "test", [Need(job="build")]),
        job("lint", "test", []),
        job("style", "test", [Need(job="docs", artifacts=False), Need(job="lint", optional=True)]),
        job("deploy", "deploy"),
        job("notes", "deploy", dependencies=["docs"]),
        job("page", "deploy", [Need(job="docs")], when="manual"),
    ],
)


@pytest.mark.parametrize(
    ("first", "more"),
    [
        ("unit", {"deploy", "notes"}),
        ("lint", {"style", "deploy", "notes"}),
        ("docs", {"style", "page", "deploy", "notes"}),
        ("deploy", set()),
    ],
)
def test_after_a_job_come_those_that_need_it_and_later_stages(first: str, more: set[str]) -> None:
    assert followers(PLAN, [first]) == {first} | more


def needs_of(part: Part) -> list[tuple[str, str, bool]]:
    return [(item.by, item.job, item.required) for item in part.borrowed]


def test_jobs_that_are_left_out_become_needs_of_an_earlier_run() -> None:
    part = cut(PLAN, {"unit", "style", "deploy", "notes"})
    assert [each.name for each in part.plan.jobs] == ["unit", "style", "deploy", "notes"]
    assert part.plan.stages == ["test", "deploy"]
    kept = {each.name: each for each in part.plan.jobs}
    assert kept["unit"].needs == [] == kept["style"].needs
    assert (kept["deploy"].needs, kept["notes"].dependencies) == (None, [])
    assert needs_of(part) == [
        ("unit", "build", True),
        ("style", "lint", False),
        ("deploy", "build", False),
        ("deploy", "docs", False),
        ("deploy", "lint", False),
        ("notes", "docs", True),
    ]


def test_a_chosen_manual_job_runs_alone() -> None:
    part = chosen(Choice(["page"], no_needs=True), PLAN, lambda name: [name])
    assert [(each.name, each.when) for each in part.plan.jobs] == [("page", "on_success")]
    assert needs_of(part) == [("page", "docs", True)]
    assert [each.name for each in chosen(Choice(start="lint"), PLAN, lambda name: [name]).plan.jobs] == [
        "lint", "style", "deploy", "notes",
    ]  # fmt: skip


def test_a_generated_pipeline_needs_the_job_that_generates_it() -> None:
    trigger = TriggerPlan(include=[TriggerInclude(artifact="child.yml", job="build")])
    plan = Plan(
        name="p",
        project="p",
        project_dir="/builds/p",
        stages=["build", "test"],
        jobs=[
            job("build", "build"),
            JobPlan(name="child", stage="test", script=[], needs=[Need(job="build")], trigger=trigger),
        ],
    )
    with pytest.raises(UsageError, match="'child' starts a pipeline that job 'build' generates, which has to run too"):
        cut(plan, {"child"})


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        (Choice(["a"], start="b"), "--from runs a job and all after it"),
        (Choice(no_needs=True), "--no-needs runs jobs without what they need; name one by --job"),
        (Choice(["a"], reuse=1), "--reuse is for artifacts of jobs that do not run"),
    ],
)
def test_options_that_do_not_belong_together_are_refused(choice: Choice, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        choice.check()
    for sound in (Choice(), Choice(["a"]), Choice(["a"], no_needs=True, reuse=1), Choice(start="a", reuse=1)):
        sound.check()
