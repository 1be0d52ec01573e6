"""How much history and which submodules a plan's jobs need: GitLab's variables GIT_DEPTH and the like. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from protocol.plan import JobPlan, Plan

USUAL_DEPTH = 20
"""GitLab's depth of a new project; also where a variable is known only to the coordinator or the worker."""
WITHOUT_HISTORY = ("none", "empty")
"""Values of GIT_STRATEGY without a repository in the job."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """The most that any job needs; a depth of 0 is the whole history."""

    depth: int = USUAL_DEPTH
    submodules: str = "none"  # or "normal", "recursive"
    submodule_depth: int = USUAL_DEPTH


def wanted(plan: Plan) -> Wanted:
    """What the jobs of a plan need."""
    each = [_of_job(plan, job) for job in plan.jobs if job.no_op is None]
    kinds = {one.submodules for one in each}
    return Wanted(
        depth=_deepest([one.depth for one in each]),
        submodules=next((kind for kind in ("recursive", "normal") if kind in kinds), "none"),
        submodule_depth=_deepest([one.submodule_depth for one in each if one.submodules != "none"]),
    )


def variables_of(plan: Plan, job: JobPlan | None = None) -> dict[str, str]:
    """The variables of a pipeline or one job as far as the plan knows them, not expanded."""
    own = job.variables if job is not None else []
    return {variable.key: variable.value for variable in (*plan.predefined, *own, *plan.run_variables)}


def _of_job(plan: Plan, job: JobPlan) -> Wanted:
    variables = variables_of(plan, job)
    if variables.get("GIT_STRATEGY") in WITHOUT_HISTORY:
        return Wanted(depth=1, submodule_depth=1)
    depth = _depth(variables.get("GIT_DEPTH"), USUAL_DEPTH)
    submodules = variables.get("GIT_SUBMODULE_STRATEGY", "none")
    if "$" in submodules:
        submodules = "recursive"
    return Wanted(
        depth=depth,
        submodules=submodules if submodules in ("normal", "recursive") else "none",
        submodule_depth=_depth(variables.get("GIT_SUBMODULE_DEPTH"), depth),
    )


def _depth(value: str | None, otherwise: int) -> int:
    return int(value) if value is not None and value.isascii() and value.isdigit() else otherwise


def _deepest(depths: list[int]) -> int:
    return 0 if 0 in depths else max(depths, default=1)
