"""What the run of a fork's commit may not do: its authors need not be trusted, and anybody may ask for it. Pure.

That it gets no secrets is up to the vault.
"""

from __future__ import annotations

import msgspec

from protocol.errors import ProtocolError
from protocol.plan import JobPlan, Plan

TOLD = "gets no secrets, saves no caches and changes no environment: the commit is one of a fork"


def confined(plan: Plan) -> Plan:
    """The plan for a fork's commit: its caches are only read, it deploys, releases and locks nothing.

    Raises ProtocolError if it wants something of another project, which its authors need not be allowed to see.
    """
    return msgspec.structs.replace(plan, jobs=[_confined(job) for job in plan.jobs])


def _confined(job: JobPlan) -> JobPlan:
    named = [need.project for need in job.external_needs]
    named += [job.mirrors, job.trigger.project if job.trigger is not None else ""]
    if other := next(filter(None, named), ""):
        raise ProtocolError(
            "bad_request", f"job {job.name!r} uses project {other}, which the commit of a fork may not: exclude the job"
        )
    caches = [msgspec.structs.replace(cache, policy="pull") for cache in job.caches if cache.policy != "push"]
    return msgspec.structs.replace(job, caches=caches, environment=None, release=None, resource_group=None)
