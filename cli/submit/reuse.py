"""Runs a part of a pipeline: which jobs run again, and where the others' artifacts come from.

A job that does not run again is cut out of the plan. What the others need of it becomes a need of an earlier run.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Protocol

import msgspec

from cli.submit.choice import Choice
from protocol.errors import UsageError
from protocol.messages import Source
from protocol.plan import ExternalNeed, JobPlan, Plan
from protocol.statuses import ExecutionStatus
from protocol.views import JobView, RunView

if TYPE_CHECKING:
    from protocol.client import Client

MOST_RUNS = 200
"""Latest runs among which those of the same branch are searched for artifacts."""


class Borrowed(msgspec.Struct, frozen=True):
    """Artifacts of a job that does not run again, wanted by the job `by`. `required`: it names that job itself."""

    job: str
    by: str
    required: bool


class Part(msgspec.Struct, frozen=True):
    """The part of a pipeline that runs again, and what it has of the rest."""

    plan: Plan
    borrowed: list[Borrowed]


class Borrower(Protocol):
    """What is to be run: its plan, where it comes from, and what it borrows."""

    @property
    def plan(self) -> Plan:
        """The plan of the part that runs."""

    @property
    def source(self) -> Source:
        """Its branch."""

    @property
    def borrowed(self) -> list[Borrowed]:
        """What its jobs need of others."""


def chosen(choice: Choice, plan: Plan, named: Callable[[str], list[str]]) -> Part:
    """The part of a pipeline that a partial choice means; `named` are the jobs of the plan that a name means. Raises
    UsageError.
    """
    asked = {job for name in choice.jobs or (choice.start,) for job in named(name)}
    part = cut(plan, followers(plan, asked) if choice.start else asked)
    jobs = [
        msgspec.structs.replace(job, when="on_success") if job.name in asked and job.when == "manual" else job
        for job in part.plan.jobs
    ]
    return msgspec.structs.replace(part, plan=msgspec.structs.replace(part.plan, jobs=jobs))


def followers(plan: Plan, first: Iterable[str]) -> set[str]:
    """The jobs `first`, and all that wait for one of them, by `needs` or by stage."""
    kept = set(first)
    stages = {job.name: plan.stages.index(job.stage) for job in plan.jobs}
    while True:
        earliest = min(stages[name] for name in kept)
        more = {job.name for job in plan.jobs if job.name not in kept and _follows(job, kept, earliest, stages)}
        if not more:
            return kept
        kept |= more


def _follows(job: JobPlan, kept: set[str], earliest: int, stages: Mapping[str, int]) -> bool:
    if job.needs is None:
        return stages[job.name] > earliest
    return any(need.job in kept for need in job.needs)


def cut(plan: Plan, kept: set[str]) -> Part:
    """The plan with the jobs `kept` alone. Raises UsageError for a child pipeline that a job cut out generates."""
    borrowed: list[Borrowed] = []
    jobs: list[JobPlan] = []
    for job in plan.jobs:
        if job.name in kept:
            _check_trigger(job, kept)
            borrowed += _borrowed(plan, job, kept)
            needs = None if job.needs is None else [need for need in job.needs if need.job in kept]
            dependencies = None if job.dependencies is None else [name for name in job.dependencies if name in kept]
            jobs.append(msgspec.structs.replace(job, needs=needs, dependencies=dependencies))
    used = {job.stage for job in jobs}
    return Part(
        msgspec.structs.replace(plan, jobs=jobs, stages=[stage for stage in plan.stages if stage in used]), borrowed
    )


def _check_trigger(job: JobPlan, kept: set[str]) -> None:
    for file in job.trigger.include if job.trigger is not None else ():
        if file.job and file.job not in kept:
            raise UsageError(
                f"job {job.name!r} starts a pipeline that job {file.job!r} generates, which has to run too: --from it"
            )


def _borrowed(plan: Plan, job: JobPlan, kept: set[str]) -> Iterator[Borrowed]:
    if job.dependencies is not None:
        wanted = dict.fromkeys(job.dependencies, True)
    elif job.needs is not None:
        wanted = {need.job: not need.optional for need in job.needs if need.artifacts}
    else:
        before = plan.stages[: plan.stages.index(job.stage)]
        wanted = {other.name: False for other in plan.jobs if other.stage in before}
    return (Borrowed(name, job.name, required) for name, required in wanted.items() if name not in kept)


class _Lender:
    """Finds the jobs of earlier runs whose artifacts are used again, in the newest of these runs that has each."""

    def __init__(self, runs: Iterator[int], get: Callable[[int], RunView]) -> None:
        self._more = runs
        self._get = get
        self._seen: list[tuple[int, dict[str, JobView]]] = []

    def find(self, name: str) -> tuple[int, JobView] | None:
        """The newest successful job of this name, and its run."""
        for run, jobs in self._each():
            job = jobs.get(name)
            if job is not None and job.status is ExecutionStatus.SUCCESS:
                return run, job
        return None

    def _each(self) -> Iterator[tuple[int, dict[str, JobView]]]:
        yield from self._seen
        for run in self._more:
            jobs = {job.name: job for stage in self._get(run).stages for job in stage.jobs}
            self._seen.append((run, jobs))
            yield run, jobs


def borrow(project: Borrower, client: Client, reuse: int | None) -> tuple[Plan, dict[str, int]]:
    """The plan in which jobs get what they borrow, and the run that it comes from, by job borrowed from.

    It comes from the run `reuse`, or from the newest run of the same branch that has it. Raises UsageError for a job
    that is required and has not succeeded there.
    """
    plan, ref = project.plan, project.source.ref
    if reuse is not None:
        runs, where = iter([reuse]), f"run {reuse}"
    else:
        latest = client.list_runs(MOST_RUNS)
        same = [run.id for run in latest if run.project == plan.project and run.ref == ref and run.parent is None]
        runs, where = iter(same), f"a run of {plan.project}" + (f" at {ref!r}" if ref else "")
    lender = _Lender(runs, client.get_run)
    external: dict[str, list[ExternalNeed]] = {}
    origins: dict[str, int] = {}
    for item in project.borrowed:
        found = lender.find(item.job)
        if found is None:
            if item.required:
                raise UsageError(
                    f"job {item.by!r} needs job {item.job!r}, which has not succeeded in {where}; run it too "
                    f"(--from {shlex.quote(item.job)}), or name another run by --reuse"
                )
            continue
        run, job = found
        if job.artifacts:
            origins[item.job] = run
            need = ExternalNeed(job=item.job, project=plan.project, pipeline=str(run))
            external.setdefault(item.by, []).append(need)
    jobs = [
        msgspec.structs.replace(job, external_needs=[*job.external_needs, *external.get(job.name, ())])
        for job in plan.jobs
    ]
    return msgspec.structs.replace(plan, jobs=jobs), origins
