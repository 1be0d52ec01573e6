"""The document of `plan --json`. The contract: fields may be added, never changed."""

from __future__ import annotations

from typing import Any

from pipeline import Compilation
from pipeline.job_compiler import Job, declared_allow_failure
from protocol.plan import JobPlan


def plan_json(compilation: Compilation) -> list[dict[str, Any]]:
    """One object per job. `needs` are as written in the file; each one's `jobs` are the planned jobs it resolves to."""
    declared = {job.name: job for job in compilation.jobs}
    return [_job_json(job, declared[job.name], compilation) for job in compilation.plan.jobs]


def _job_json(job: JobPlan, declared: Job, compilation: Compilation) -> dict[str, Any]:
    return {
        "name": job.name,
        "stage": job.stage,
        "when": job.when,
        "allow_failure": declared_allow_failure(declared),
        "needs": _needs_json(declared, compilation),
        "dependencies": job.dependencies,
        "image": job.image.name if job.image else None,
        "services": [service.name for service in job.services],
        "tags": job.tags,
        "timeout": job.timeout,
        "environment": job.environment.name if job.environment else None,
        "resource_group": job.resource_group,
        "start_in": job.start_in or None,
        "starts_project": (job.trigger.project or None) if job.trigger else None,
        "mirrors": job.mirrors or None,
        "inputs": {name: spec.default for name, spec in job.inputs.items()},
        "variables": {variable.key: variable.value for variable in job.variables},
    }


def _needs_json(job: Job, compilation: Compilation) -> list[dict[str, Any]] | None:
    if job.needs is None:
        return None
    return [
        {
            "job": need.job,
            "artifacts": need.artifacts,
            "optional": need.optional,
            "jobs": compilation.links[job.name].jobs_of(need),
        }
        for need in job.needs
    ]
