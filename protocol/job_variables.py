"""A job's variables that depend on its run: ids, times and worker. Pure.

The worker passes them to the job; the coordinator expands them in views, such as an environment's address.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime

from protocol import VERSION
from protocol.plan import JobPlan, Variable

PIPELINE_NAME = "CI_PIPELINE_NAME"
"""The expanded `workflow:name`; not raw if it refers to variables of the run."""
BUILDS_DIR = "/builds"
"""Parent of all project directories in jobs' containers."""
SLUG_LENGTH = 63
FILES_SUFFIX = ".tmp"
"""Suffix of the directory beside the project's that holds a job's file variables."""


def of_run(run: int, created_at: float) -> dict[str, str]:
    """The variables that identify a run. `created_at` is in seconds since the epoch."""
    created = timestamp(datetime.fromtimestamp(created_at, UTC))
    return {"CI_PIPELINE_ID": str(run), "CI_PIPELINE_IID": str(run), "CI_PIPELINE_CREATED_AT": created}


def of_job(run: int, created_at: float, job: int) -> list[Variable]:
    """The variables that identify a job of a run."""
    values = {
        **of_run(run, created_at),
        "CI_PIPELINE_URL": f"$CI_PROJECT_URL/-/pipelines/{run}",
        "CI_JOB_ID": str(job),
        "CI_JOB_URL": f"$CI_PROJECT_URL/-/jobs/{job}",
    }
    return [Variable(key=key, value=value) for key, value in values.items()]


def of_worker(job: JobPlan, worker: str, image: str, project_dir: str, labels: Sequence[str] = ()) -> list[Variable]:
    """The variables that describe a job's worker and environment. `image` may contain variables. `labels` are the
    worker's; a worker without labels has those that the job asks for.
    """
    values = {
        "CI_BUILDS_DIR": BUILDS_DIR,
        "CI_DISPOSABLE_ENVIRONMENT": "true",
        "CI_JOB_STATUS": "running",
        "CI_JOB_TIMEOUT": str(round(job.timeout)),
        "CI_PROJECT_DIR": project_dir,
        "CI_RUNNER_DESCRIPTION": worker,
        "CI_RUNNER_ID": "1",
        "CI_RUNNER_REVISION": "",
        "CI_RUNNER_SHORT_TOKEN": worker,
        "CI_RUNNER_TAGS": json.dumps(list(labels or job.tags), ensure_ascii=False),
        "CI_RUNNER_VERSION": VERSION,
        "CI_SERVER": "yes",
    }
    fixed = [Variable(key=key, value=value, raw=True) for key, value in values.items()]
    return [Variable(key="CI_JOB_IMAGE", value=image), *fixed]


def timestamp(moment: datetime) -> str:
    """A time in the format of GitLab's variables."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def slug(text: str) -> str:
    """Lower case, only letters, digits and `-`, at most 63 characters, no `-` at either end."""
    return re.sub(r"[^a-z0-9]", "-", text.lower())[:SLUG_LENGTH].strip("-")


def as_path(variable: Variable, project_dir: str) -> Variable:
    """A variable as the job sees it: a file variable becomes its path."""
    if not variable.file:
        return variable
    return Variable(key=variable.key, value=f"{project_dir}{FILES_SUFFIX}/{variable.key}", raw=True)
