"""What the plan of a child run depends on: its parent's snapshot, facts and forwarded variables. Pure."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from coordinator.engine.origins import OF_THE_USER
from coordinator.engine.run_index import RunIndex
from coordinator.engine.state import JobState
from protocol import forwarding
from protocol.compilation import ChildRequest
from protocol.job_variables import of_job
from protocol.messages import Origin
from protocol.plan import Variable
from protocol.statuses import ENDED


def child_request(job: JobState, index: RunIndex) -> ChildRequest:
    """What the plan of the run that this job starts depends on, besides its origin: see `completed`. The jobs that its
    trigger names have ended.

    A run of another project is started by the user of this one: of the facts, only those are there.
    """
    run, trigger = index.run, job.plan.trigger
    assert trigger is not None
    named = [index.by_name[file.job] for file in trigger.include if file.job in index.by_name]
    return ChildRequest(
        run=run.id,
        job=job.plan.name,
        job_id=job.id,
        upstream_project=_known(run.plan.predefined, "CI_PROJECT_ID") if trigger.project else "",
        trigger=trigger,
        predefined=[variable for variable in run.plan.predefined if variable.key.startswith(OF_THE_USER)],
        variables=forwarded(job, index),
        archives={
            source.plan.name: [ref for ref in source.attempt.artifacts if ref.kind == "archive"]
            for source in named
            if source.attempt is not None and source.status in ENDED
        },
    )


def _known(variables: Iterable[Variable], key: str) -> str:
    return next((variable.value for variable in variables if variable.key == key), "")


def completed(request: ChildRequest, origin: Origin) -> ChildRequest:
    """A request with what its pipeline is made of."""
    user = request.predefined if request.trigger.project else []
    facts = [variable for variable in origin.predefined if not (user and variable.key.startswith(OF_THE_USER))]
    return msgspec.structs.replace(
        request,
        file=origin.file,
        predefined=[*facts, *user],
        project_variables=origin.project_variables,
        default_image=origin.default_image,
        includes=origin.includes,
        workspace=origin.workspace,
    )


def forwarded(job: JobState, index: RunIndex) -> list[Variable]:
    """The variables that a child gets."""
    run, trigger = index.run, job.plan.trigger
    if trigger is None:
        return []
    sources = [source.attempt.dotenv for source in index.artifact_sources(job) if source.attempt]
    layers = [
        *run.plan.predefined,
        *of_job(run.id, run.created_at or 0.0, job.id),
        *job.plan.variables,
        *(Variable(key=key, value=value, raw=True) for left in sources for key, value in left.items()),
        *run.plan.run_variables,
        *job.play_variables,
    ]
    return forwarding.expanded([*forwarding.wanted(run.plan, job.plan.variables, trigger), *job.play_variables], layers)
