"""Builders of jobs, plans and assignments: a test names what it is about, the rest has a plain default."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

from protocol.messages import Assignment, Dependency
from protocol.plan import ImageSpec, JobPlan, Need, Plan, TriggerInclude, TriggerPlan, Variable
from protocol.statuses import ExecutionStatus
from tests.support.images import BUSYBOX

PROJECT = "group/project"
PROJECT_DIR = "/builds/group/project"

_attempts = itertools.count(1)


def job(
    name: str = "job",
    stage: str = "test",
    *,
    script: str | Iterable[str] = "true",
    needs: Iterable[str] | None = None,
    image: str | ImageSpec | None = None,
    **fields: Any,
) -> JobPlan:
    """A job of a plan; `needs` are names, None waits for the stages before. Further keywords are JobPlan's."""
    return JobPlan(
        name=name,
        stage=stage,
        script=[script] if isinstance(script, str) else list(script),
        needs=None if needs is None else [Need(job=need) for need in needs],
        image=ImageSpec(name=image) if isinstance(image, str) else image,
        **fields,
    )


def trigger(name: str = "job", stage: str = "test", *, strategy: str = "none", **fields: Any) -> JobPlan:
    """A job that starts a child pipeline from a file of the project, unless it says from what (`include`, ...)."""
    of_trigger = {key: fields.pop(key) for key in list(fields) if key in TriggerPlan.__struct_fields__}
    include = of_trigger.pop("include", [TriggerInclude(local="child.yml")])
    child = TriggerPlan(include=include, strategy=strategy, **of_trigger)  # type: ignore[arg-type]
    return job(name, stage, script=(), trigger=child, **fields)


def plan(*jobs: JobPlan, stages: Iterable[str] | None = None, **fields: Any) -> Plan:
    """A plan of these jobs; stages are those of the jobs, in order, unless given. Further keywords are Plan's."""
    names = list(stages or dict.fromkeys(each.stage for each in jobs))
    defaults = {"name": "p", "project": PROJECT, "project_dir": PROJECT_DIR}
    return Plan(stages=names, jobs=list(jobs), **(defaults | fields))


def assignment(
    *script: str,
    attempt: str | None = None,
    waits_for: Iterable[Dependency] = (),
    image: str | ImageSpec | None = BUSYBOX,
    **fields: Any,
) -> Assignment:
    """An attempt, of its own unless named, of a job that runs `script`; further keywords are JobPlan's or Assignment's.

    `waits_for` are the assignment's `dependencies`, a name that JobPlan has too.
    """
    attempt = attempt or f"{next(_attempts)}.1"
    job_id, number = map(int, attempt.split("."))
    whole = {key: fields.pop(key) for key in list(fields) if key not in JobPlan.__struct_fields__}
    defaults: dict[str, Any] = {
        "run": 1,
        "job_id": job_id,
        "number": number,
        "project": PROJECT,
        "project_dir": PROJECT_DIR,
        "predefined": [],
        "variables": [],
        "run_variables": [],
    }
    return Assignment(
        attempt=attempt,
        job=job(script=script, image=image, **fields),
        dependencies=list(waits_for),
        **(defaults | whole),
    )


def shop() -> Plan:
    """A pipeline as a web shop might have it: four stages, fan-out, needs across stages, a manual deployment."""
    return plan(
        job("compile", "build"),
        job("assets", "build"),
        job("dependencies", "build"),
        job("unit", needs=["compile"]),
        job("integration", needs=["compile", "dependencies"]),
        job("browser", needs=["compile", "assets"], tags=["chrome"]),
        job("lint", needs=[], allow_failure=True),
        job("image", "package", needs=["unit", "assets"]),
        job("scan", "package", needs=["dependencies"]),
        job("staging", "deploy"),
        job("production", "deploy", when="manual", allow_failure=True, manual_confirmation="Deploy to production?"),
        name="shop",
    )


def unsatisfied(*jobs: str) -> list[Dependency]:
    """What an attempt waits for: jobs that run."""
    return [Dependency(job=each, status=ExecutionStatus.RUNNING, satisfied=False) for each in jobs]


def variables(**values: str) -> list[Variable]:
    """Variables by name."""
    return [Variable(key=key, value=value) for key, value in values.items()]
