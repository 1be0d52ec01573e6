"""How much history and which submodules a plan's jobs need, by GitLab's variables GIT_DEPTH and the like. Pure."""

from __future__ import annotations

import msgspec

from daemon.executors.base import CheckoutOptions, JobFailed
from daemon.executors.common.checkout_options import checkout_options
from protocol.plan import JobPlan, Plan
from protocol.variables import expand_all


class Wanted(msgspec.Struct, frozen=True):
    """The most that any job needs; a depth of 0 is the whole history. `submodules` as GIT_SUBMODULE_STRATEGY."""

    depth: int
    submodules: str
    submodule_depth: int


def wanted(plan: Plan) -> Wanted:
    """What the jobs of a plan need, as far as their variables are known before the run."""
    each = {options for job in plan.jobs if _runs(job) and (options := _options(plan, job)) is not None}
    deep = [options for options in each if options.submodules != "none"]
    kinds = {options.submodules for options in each}
    return Wanted(
        depth=_deepest([options.depth for options in each]),
        submodules=next((kind for kind in ("recursive", "normal") if kind in kinds), "none"),
        submodule_depth=_deepest([options.submodule_depth for options in deep]),
    )


def _runs(job: JobPlan) -> bool:
    """Whether a worker runs the job, so that it has a checkout. A child's jobs have the same as its parent's."""
    return not job.mirrors and (job.trigger is None or bool(job.trigger.include))


def _options(plan: Plan, job: JobPlan) -> CheckoutOptions | None:
    """A job's options; None for a job without a checkout, or one whose worker will refuse its variables."""
    variables = [*plan.predefined, *job.variables, *plan.run_variables]
    if not any(variable.key.startswith("GIT_") for variable in variables):
        return CheckoutOptions()
    try:
        return checkout_options(expand_all(variables), [])
    except JobFailed:
        return None


def _deepest(depths: list[int]) -> int:
    return 0 if 0 in depths else max(depths, default=1)
