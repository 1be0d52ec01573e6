"""Validates the plan of a new run, and creates its state. Pure."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from coordinator.engine.forks import confined
from coordinator.engine.interning import intern_parts
from coordinator.engine.state import NO_PROJECTS, JobState, RunState, StageState, goes_to_worker
from protocol import messages as m
from protocol.errors import ProtocolError
from protocol.job_inputs import BadInput, current, interpolated
from protocol.job_variables import PIPELINE_NAME, of_run
from protocol.moa.values import Budget
from protocol.plan import JobPlan, Plan
from protocol.variables import expand, references
from protocol.views import ParentJob

LONGEST_NAME = 255
"""Maximum length of the names of an environment and its project, as in GitLab; they are a key of the database."""
LONGEST_STAY = 100 * 366 * 86_400.0
"""Maximum `auto_stop_in` in seconds, so that the time stays within the range of date types."""
LONGEST_DELAY = 366 * 86_400.0
"""Maximum delay of a job in seconds; GitLab's own bound is a week."""


MAX_EXPRESSIONS = 2 << 20
"""Maximum total length of a plan's texts with expressions and of the values in them, in characters: each is evaluated
when the run is submitted, and again when its job is assigned.
"""


class RunFactory:
    """Creates runs and assigns their ids and those of their jobs; each id is used once in a coordinator's database."""

    def __init__(self, *, next_run_id: int, next_job_id: int) -> None:
        self._next_run_id = next_run_id
        self._next_job_id = next_job_id

    def make(self, request: m.SubmitRun, at: float, parent: ParentJob | None = None) -> RunState:
        """A submission's run, created at wall time `at`; no job has started. `parent` is the job that triggered it.

        Raises ProtocolError for an invalid plan, or one that a fork may not have.
        """
        check(request.plan)
        if request.source.fork:
            request = msgspec.structs.replace(request, plan=confined(request.plan))
        run_id, self._next_run_id = self._next_run_id, self._next_run_id + 1
        intern_parts(request.plan.jobs)
        names = [name for name in request.plan.stages if any(job.stage == name for job in request.plan.jobs)]
        stages = [StageState(run_id=run_id, index=i, name=name, jobs=[]) for i, name in enumerate(names)]
        by_name = {stage.name: stage for stage in stages}
        for plan in request.plan.jobs:
            stage = by_name[plan.stage]
            job = JobState(id=self._next_job_id, run_id=run_id, stage_index=stage.index, plan=plan, created_at=at)
            self._next_job_id += 1
            stage.jobs.append(job)
        return RunState(
            id=run_id,
            token=request.token,
            plan=_named(request.plan, of_run(run_id, at)),
            source=request.source,
            stages=stages,
            workspace=request.workspace,
            parent=parent,
            projects=request.projects or NO_PROJECTS,
            created_at=at,
        )


def _named(plan: Plan, known: Mapping[str, str]) -> Plan:
    """The plan with the run's own variables expanded in the pipeline's name, if that refers to them."""
    named = next((variable for variable in plan.predefined if variable.key == PIPELINE_NAME), None)
    if named is None or named.raw:
        return plan
    name = expand(plan.name, known, keep=references(plan.name) - known.keys())
    return msgspec.structs.replace(plan, name=name)


def check(plan: Plan) -> None:
    """Validates a plan, which need not come from our compiler. Raises ProtocolError."""
    names = [job.name for job in plan.jobs]
    if not names:
        raise ProtocolError("bad_request", "the plan has no jobs")
    if len(set(names)) != len(names):
        raise ProtocolError("bad_request", "the plan has two jobs with the same name")
    stage_of = {job.name: job.stage for job in plan.jobs}
    budget = Budget(MAX_EXPRESSIONS)
    for job in plan.jobs:
        if not goes_to_worker(job) and job.script:
            raise ProtocolError(
                "bad_request", f"job {job.name!r} has both a script and a run that it starts or mirrors"
            )
        if not 0 <= job.start_in <= LONGEST_DELAY:
            raise ProtocolError("bad_request", f"job {job.name!r} starts in {job.start_in:g} s; the maximum is a year")
        if job.environment is not None:
            _check_environment(plan.project, job)
        try:
            interpolated(job, current(job, {}), budget)
        except BadInput as error:
            raise ProtocolError("bad_request", str(error)) from None
        if job.stage not in plan.stages:
            raise ProtocolError("bad_request", f"job {job.name!r} is in stage {job.stage!r}, which the plan lacks")
        for need in job.needs or ():
            if need.job not in stage_of:
                raise ProtocolError("bad_request", f"job {job.name!r} needs {need.job!r}, which the plan lacks")
            if plan.stages.index(stage_of[need.job]) > plan.stages.index(job.stage):
                raise ProtocolError("bad_request", f"job {job.name!r} needs {need.job!r}, which is in a later stage")
    _check_cycles(plan)


def _check_environment(project: str, job: JobPlan) -> None:
    spec = job.environment
    if spec is None:
        return
    if not 1 <= len(spec.name) <= LONGEST_NAME or len(project) > LONGEST_NAME:
        text = f"the names of an environment and its project have 1 to {LONGEST_NAME} characters"
        raise ProtocolError("bad_request", f"job {job.name!r}: {text}")
    if spec.auto_stop_in is not None and not 0 <= spec.auto_stop_in <= LONGEST_STAY:
        raise ProtocolError("bad_request", f"job {job.name!r}: auto_stop_in is at most 100 years")


def _check_cycles(plan: Plan) -> None:
    waits_for = {job.name: [need.job for need in job.needs or ()] for job in plan.jobs}
    left = {name: len(needs) for name, needs in waits_for.items()}
    needed_by: dict[str, list[str]] = {}
    for name, needs in waits_for.items():
        for need in needs:
            needed_by.setdefault(need, []).append(name)
    free = [name for name, count in left.items() if not count]
    while free:
        for name in needed_by.get(free.pop(), ()):
            left[name] -= 1
            if not left[name]:
                free.append(name)
    stuck = [name for name, count in left.items() if count > 0]
    if stuck:
        raise ProtocolError("bad_request", f"these jobs need each other in a cycle: {', '.join(sorted(stuck)[:5])}")
