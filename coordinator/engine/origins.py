"""Where the pipelines of a project come from: from what a run has of its project. Pure.

A child is made of what its parent has. A pipeline of another project is made of what the client has brought along, else
of what the newest run of that project has; see coordinator/other_projects.py.
"""

from __future__ import annotations

from coordinator.engine.state import RunState
from protocol.messages import Origin

REF = "CI_COMMIT_REF_NAME"
MERGE_REQUEST = "merge_request_event"
OF_THE_USER = "GITLAB_USER_"
"""Prefix of the variables of the person who has started a pipeline."""


def origin_of(run: RunState) -> Origin:
    """What a run has of its project."""
    plan = run.plan
    return Origin(
        project=plan.project,
        file=fact(run, "CI_CONFIG_PATH"),
        predefined=plan.predefined,
        project_variables=plan.run_variables[: plan.project_variables],
        default_image=plan.default_image,
        includes=plan.includes,
        source=run.source,
        workspace=run.workspace,
    )


def brought_along(run: RunState, project: str) -> Origin | None:
    """What the client has brought along of another project, if it has."""
    return next((origin for origin in run.projects if origin.project.casefold() == project.casefold()), None)


def ref_of(run: RunState) -> str:
    """The branch or tag that a run counts for.

    That of a merge request, and what a fork's commit has started, count for no branch: others would take their
    artifacts and files for those of the branch.
    """
    if run.source.event == MERGE_REQUEST:
        return run.source.ref
    if run.source.fork:
        return f"refs/forks/{run.source.ref}"
    return fact(run, REF) or run.source.ref


def called(run: RunState, from_run: RunState) -> str:
    """A run, as a job of another one speaks of it."""
    return f"run {run.id}" + (f" of {run.plan.project}" if run.plan.project != from_run.plan.project else "")


def fact(run: RunState, key: str) -> str:
    """The value of a predefined variable of a run; empty without one."""
    return next((variable.value for variable in run.plan.predefined if variable.key == key), "")
