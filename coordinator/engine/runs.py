"""Creates the state of a new run from its plan. Pure."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from coordinator.engine.interning import intern_parts
from coordinator.engine.state import JobState, RunState, StageState
from protocol import messages as m
from protocol.job_variables import PIPELINE_NAME, of_run
from protocol.plan import Plan
from protocol.variables import expand, references
from protocol.views import ParentJob


class RunFactory:
    """Creates runs and assigns their ids and those of their jobs; each id is used once in a coordinator's database."""

    def __init__(self, *, next_run_id: int, next_job_id: int) -> None:
        self._next_run_id = next_run_id
        self._next_job_id = next_job_id

    def make(self, request: m.SubmitRun, at: float, parent: ParentJob | None) -> RunState:
        """A submission's run, created at wall time `at`; no job has started."""
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
            created_at=at,
        )


def _named(plan: Plan, known: Mapping[str, str]) -> Plan:
    """The plan with the run's own variables expanded in the pipeline's name, if that refers to them."""
    named = next((variable for variable in plan.predefined if variable.key == PIPELINE_NAME), None)
    if named is None or named.raw:
        return plan
    name = expand(plan.name, known, keep=references(plan.name) - known.keys())
    return msgspec.structs.replace(plan, name=name)
