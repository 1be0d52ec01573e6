"""The outcome of a run as fields of its JSON document: see docs/schemas/run.json."""

from __future__ import annotations

from typing import Any

import msgspec

from cli.summary.commands import log_command, retry_command, retry_with_workspace_command, shell_command
from cli.summary.outcome import Failure, Outcome
from cli.summary.timing import TimedJob


def outcome_json(outcome: Outcome) -> dict[str, Any]:
    """The fields."""
    return {
        "failures": [_failure_json(failure) for failure in outcome.failures],
        "further_failures": outcome.further,
        "slowest_jobs": [_timed_json(job) for job in outcome.timing.slowest],
        "critical_path": [_timed_json(job) | {"waited": round(job.waited, 3)} for job in outcome.timing.critical_path],
    }


def _failure_json(failure: Failure) -> dict[str, Any]:
    job, excerpt = failure.job, failure.excerpt
    return {
        "run": failure.run,
        "stage": failure.stage,
        "job": job.name,
        "attempt": job.attempt,
        "allow_failure": job.allow_failure,
        "failure_reason": None if job.failure_reason is None else str(job.failure_reason),
        "exit_code": job.exit_code,
        "message": job.message,
        "command": excerpt.command,
        "section": excerpt.section,
        "first_error": excerpt.first_error,
        "last_lines": excerpt.last_lines,
        "failed_tests": [msgspec.structs.asdict(test) for test in failure.tests],
        "log_bytes": failure.log_bytes,
        "log_command": log_command(failure),
        "retry_command": retry_command(failure),
        "retry_with_workspace_command": retry_with_workspace_command(failure),
        "shell_command": shell_command(failure),
    }


def _timed_json(job: TimedJob) -> dict[str, Any]:
    return {"run": job.run, "job": job.job, "seconds": round(job.seconds, 3)}
