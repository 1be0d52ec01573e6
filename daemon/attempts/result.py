"""Why an attempt is stopped and how it ends: the words that a job's thread and the worker's loop share. Pure data."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from protocol.statuses import ExecutionStatus, FailureReason
from protocol.views import ArtifactRef, JUnitSummary


class StopReason(Enum):
    """Why an attempt is to be stopped."""

    CANCEL = "cancel"  # somebody asked for it
    TIMEOUT = "timeout"  # it took longer than its plan allows
    LEASE = "lease"  # the coordinator was not heard of for too long, and may start it elsewhere
    RETURN = "return"  # it is handed back, not begun
    DISCARD = "discard"  # nobody wants it any more
    LEAVE = "leave"  # the daemon goes; the container stays


class ResumePoint(Enum):
    """Where in its life the thread finds the attempt."""

    NEW = "new"  # no container, or one that was not started
    HELD = "held"  # its container waits at the gate
    RELEASED = "released"  # its container runs or has ended


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """How an attempt ended, as its final status will say it."""

    status: ExecutionStatus
    exit_code: int | None = None
    failure_reason: FailureReason | None = None
    message: str | None = None
    log_length: int = 0
    artifacts: list[ArtifactRef] = field(default_factory=list)
    dotenv: dict[str, str] = field(default_factory=dict)
    tests: JUnitSummary | None = None
    coverage: float | None = None
