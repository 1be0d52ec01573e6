"""How durations, failures and jobs are said in a few words. Imports nothing heavy."""

from __future__ import annotations

import time

from protocol.statuses import UNFINISHED, ExecutionStatus, FailureReason
from protocol.views import JobView


def duration(seconds: float | None) -> str:
    """As people say it: 0.4 s, 12.3 s, 3 min 05 s, 2 h 10 min."""
    if seconds is None:
        return ""
    if seconds < 60:
        return f"{max(seconds, 0):.1f} s"
    if seconds < 3600:
        return f"{int(seconds) // 60} min {int(seconds) % 60:02} s"
    return f"{int(seconds) // 3600} h {int(seconds) % 3600 // 60:02} min"


def elapsed(started: float | None, finished: float | None) -> float | None:
    """Seconds between two times, the second of which may be still to come."""
    return None if started is None else (finished or time.time()) - started


def failure_text(reason: FailureReason | None, exit_code: int | None, message: str | None) -> str:
    """Why something failed, in a line."""
    parts = [str(reason or "failed")]
    if exit_code is not None and f"exit code {exit_code}" not in (message or ""):
        parts.append(f"exit code {exit_code}")
    return ": ".join([*parts, message] if message else parts)


def job_note(job: JobView) -> str:
    """Why a job stands as it does, in a line."""
    if job.status is ExecutionStatus.FAILED:
        allowed = "allowed to fail: " if job.allow_failure else ""
        return allowed + failure_text(job.failure_reason, job.exit_code, job.message)
    if job.status in UNFINISHED:
        return job.pending_reason or ""
    return job.message or ""
