"""Stop reasons and results of attempts: the vocabulary of runner threads and the worker's loop. Pure data."""

from __future__ import annotations

from enum import Enum

import msgspec

from protocol.plan import Release
from protocol.reports import JobReports
from protocol.statuses import ExecutionStatus, FailureReason
from protocol.views import ArtifactRef, JUnitSummary, Pages


class StopReason(Enum):
    """Reason to stop an attempt."""

    CANCEL = "cancel"  # requested by a user or the coordinator
    TIMEOUT = "timeout"  # it exceeded its plan's timeout
    LEASE = "lease"  # no contact with the coordinator for too long: it may start the attempt elsewhere
    RETURN = "return"  # it is returned, not begun
    DISCARD = "discard"  # it is no longer wanted
    LEAVE = "leave"  # the daemon leaves; the container stays


class ResumePoint(Enum):
    """The attempt's state when its thread starts."""

    NEW = "new"  # no container, or an unstarted one
    HELD = "held"  # its container waits at the gate
    RELEASED = "released"  # its container runs or has ended


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """How an attempt ended; the content of its final status."""

    status: ExecutionStatus
    exit_code: int | None = None
    failure_reason: FailureReason | None = None
    message: str | None = None
    log_length: int = 0
    artifacts: list[ArtifactRef] = []
    dotenv: dict[str, str] = {}
    tests: JUnitSummary | None = None
    test_results: bytes = b""
    reports: JobReports | None = None
    coverage: float | None = None
    release: Release | None = None
    pages: Pages | None = None
    kept: float | None = None  # seconds that its container stays
