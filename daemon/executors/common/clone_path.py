"""The directory of the project in a job's container, if the job chooses one itself (GIT_CLONE_PATH). Pure."""

from __future__ import annotations

import posixpath
import re

import msgspec

from daemon.executors.base import JobFailed
from protocol.job_variables import BUILDS_DIR
from protocol.messages import Assignment
from protocol.plan import Variable
from protocol.statuses import FailureReason
from protocol.variables import expand_all

CLONE_PATH = "GIT_CLONE_PATH"
UNKNOWN = [Variable(key=key, value="0", raw=True) for key in ("CI_CONCURRENT_ID", "CI_CONCURRENT_PROJECT_ID")]
"""Jobs of GitLab's runner share a file system, so their paths contain these numbers. Here they are not known before the
script starts, and each job has a file system of its own."""
UNUSABLE = re.compile(r"[:\x00-\x1f\x7f]")
"""What the engine does not take in the path of a volume."""


def at_clone_path(assignment: Assignment) -> Assignment:
    """The assignment with the project directory that the job's variables name.

    Raises JobFailed for a directory that is not below BUILDS_DIR, as GitLab's runner does.
    """
    layers = (
        assignment.predefined,
        assignment.variables,
        assignment.job.variables,
        assignment.secrets,
        assignment.run_variables,
    )
    if not any(variable.key == CLONE_PATH for layer in layers for variable in layer):
        return assignment
    written = expand_all([*UNKNOWN, *(variable for layer in layers for variable in layer)])[CLONE_PATH].strip()
    if not written:
        return assignment
    path = posixpath.normpath(written)
    if not path.startswith(f"{BUILDS_DIR}/") or UNUSABLE.search(path):
        raise JobFailed(
            FailureReason.RUNNER_SYSTEM_FAILURE,
            f"{CLONE_PATH} {written[:200]!r} can't be used: it is a directory below {BUILDS_DIR} ($CI_BUILDS_DIR), "
            "without `:`",
        )
    return msgspec.structs.replace(
        assignment,
        project_dir=path,
        variables=[*assignment.variables, Variable(key="CI_PROJECT_DIR", value=path, raw=True)],
        run_variables=[*assignment.run_variables, Variable(key=CLONE_PATH, value=path, raw=True)],
    )
