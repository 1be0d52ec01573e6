"""Statuses and failure reasons, with GitLab's names and spelling where it has them."""

from __future__ import annotations

from enum import Enum


class ExecutionStatus(str, Enum):
    """The status of a run, stage or job; docs/statuses.md explains each one."""

    CREATED = "created"
    MANUAL = "manual"
    SCHEDULED = "scheduled"
    PENDING = "pending"
    WAITING = "waiting"
    PREPARING = "preparing"
    RUNNING = "running"
    SUCCESS = "success"
    FAILED = "failed"
    CANCELED = "canceled"
    SKIPPED = "skipped"

    def __str__(self) -> str:
        return self.value


ENDED = frozenset({ExecutionStatus.SUCCESS, ExecutionStatus.FAILED, ExecutionStatus.CANCELED, ExecutionStatus.SKIPPED})
"""Final statuses: no further transition without a retry."""
UNFINISHED = frozenset(ExecutionStatus) - ENDED
AT_WORKER = frozenset({ExecutionStatus.WAITING, ExecutionStatus.PREPARING, ExecutionStatus.RUNNING})
"""Statuses in which a worker has accepted the job's current attempt."""


class FailureReason(str, Enum):
    """The reason of a job's failure; `retry: when` accepts exactly these, and `always`."""

    SCRIPT_FAILURE = "script_failure"
    JOB_EXECUTION_TIMEOUT = "job_execution_timeout"
    RUNNER_SYSTEM_FAILURE = "runner_system_failure"
    IMAGE_PULL_FAILURE = "image_pull_failure"
    MISSING_DEPENDENCY_FAILURE = "missing_dependency_failure"
    STUCK_OR_TIMEOUT_FAILURE = "stuck_or_timeout_failure"
    OOM_KILLED = "oom_killed"
    SERVICE_UNHEALTHY = "service_unhealthy"
    DOWNSTREAM_PIPELINE_CREATION_FAILED = "downstream_pipeline_creation_failed"
    REACHED_MAX_DESCENDANT_PIPELINES_DEPTH = "reached_max_descendant_pipelines_depth"
    REACHED_MAX_PIPELINE_HIERARCHY_SIZE = "reached_max_pipeline_hierarchy_size"
    DOWNSTREAM_BRIDGE_PROJECT_NOT_FOUND = "downstream_bridge_project_not_found"
    UPSTREAM_BRIDGE_PROJECT_NOT_FOUND = "upstream_bridge_project_not_found"
    INVALID_BRIDGE_TRIGGER = "invalid_bridge_trigger"
    PIPELINE_LOOP_DETECTED = "pipeline_loop_detected"

    def __str__(self) -> str:
        return self.value


class EnvironmentStatus(str, Enum):
    """The status of an environment: deployed to, about to be stopped by a job, or stopped."""

    AVAILABLE = "available"
    STOPPING = "stopping"
    STOPPED = "stopped"

    def __str__(self) -> str:
        return self.value


class WorkerStatus(str, Enum):
    """The status of a worker; only an online one gets new jobs."""

    ONLINE = "online"
    DRAINING = "draining"
    OFFLINE = "offline"

    def __str__(self) -> str:
        return self.value


SHAPES = {
    ExecutionStatus.SUCCESS: "✓",
    ExecutionStatus.FAILED: "✗",
    ExecutionStatus.RUNNING: "●",
    ExecutionStatus.PREPARING: "◐",
    ExecutionStatus.WAITING: "◔",
    ExecutionStatus.PENDING: "○",
    ExecutionStatus.CREATED: "·",
    ExecutionStatus.MANUAL: "►",
    ExecutionStatus.SCHEDULED: "◷",
    ExecutionStatus.CANCELED: "⊘",
    ExecutionStatus.SKIPPED: "»",
}
"""A symbol for each status, one cell wide in any terminal; its word or letter always accompanies it."""
