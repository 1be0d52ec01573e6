"""Variables of a job that only a run knows: which job of which run it is, and where it runs. Pure.

The worker gives them to the job; the coordinator needs them for what it shows of the job, as its environment's address.
"""

from __future__ import annotations

from datetime import UTC, datetime

from protocol import VERSION
from protocol.plan import JobPlan, Variable

PIPELINE_NAME = "CI_PIPELINE_NAME"
"""What `workflow:name` comes to; not raw where it names what only the run knows."""
FILES_SUFFIX = ".tmp"
"""Of the directory beside the project's in which a job finds its variables that are files."""


def of_run(run: int, created_at: float) -> dict[str, str]:
    """What tells a run from all others. `created_at` is in seconds since the epoch."""
    created = timestamp(datetime.fromtimestamp(created_at, UTC))
    return {"CI_PIPELINE_ID": str(run), "CI_PIPELINE_IID": str(run), "CI_PIPELINE_CREATED_AT": created}


def of_job(run: int, created_at: float, job: int) -> list[Variable]:
    """What tells a job of a run from all others."""
    values = {
        **of_run(run, created_at),
        "CI_PIPELINE_URL": f"$CI_PROJECT_URL/-/pipelines/{run}",
        "CI_JOB_ID": str(job),
        "CI_JOB_URL": f"$CI_PROJECT_URL/-/jobs/{job}",
    }
    return [Variable(key=key, value=value) for key, value in values.items()]


def of_worker(job: JobPlan, worker: str, image: str, project_dir: str) -> list[Variable]:
    """What a job is told of the worker that runs it, and of how. `image` may hold variables."""
    values = {
        "CI_BUILDS_DIR": "/builds",
        "CI_DISPOSABLE_ENVIRONMENT": "true",
        "CI_JOB_STATUS": "running",
        "CI_JOB_TIMEOUT": str(round(job.timeout)),
        "CI_PROJECT_DIR": project_dir,
        "CI_RUNNER_DESCRIPTION": worker,
        "CI_RUNNER_ID": "1",
        "CI_RUNNER_SHORT_TOKEN": worker,
        "CI_RUNNER_TAGS": "[" + ", ".join(f'"{tag}"' for tag in job.tags) + "]",
        "CI_RUNNER_VERSION": VERSION,
        "CI_SERVER": "yes",
    }
    fixed = [Variable(key=key, value=value, raw=True) for key, value in values.items()]
    return [Variable(key="CI_JOB_IMAGE", value=image), *fixed]


def timestamp(moment: datetime) -> str:
    """A time as GitLab writes it into variables."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def as_path(variable: Variable, project_dir: str) -> Variable:
    """A variable as the job sees it: of one that is a file, the path."""
    if not variable.file:
        return variable
    return Variable(key=variable.key, value=f"{project_dir}{FILES_SUFFIX}/{variable.key}", raw=True)
