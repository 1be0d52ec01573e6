"""Short phrases for durations, failures and jobs. Imports nothing heavy."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime

from protocol.messages import JobDetail
from protocol.plan import JobInput
from protocol.reports import SEVERITIES, CodeQuality, FailedTest, JobReports, LineCoverage
from protocol.statuses import UNFINISHED, ExecutionStatus, FailureReason
from protocol.views import JobView, JUnitSummary


def counted(count: int, noun: str) -> str:
    """`1 job`, `2 jobs`."""
    return f"{count} {noun}" + ("" if count == 1 else "s")


def duration(seconds: float | None) -> str:
    """Human-readable: 0.4 s, 12.3 s, 3 min 05 s, 2 h 10 min."""
    if seconds is None:
        return ""
    if seconds < 60:
        return f"{max(seconds, 0):.1f} s"
    if seconds < 3600:
        return f"{int(seconds) // 60} min {int(seconds) % 60:02} s"
    return f"{int(seconds) // 3600} h {int(seconds) % 3600 // 60:02} min"


def elapsed(started: float | None, finished: float | None) -> float | None:
    """Seconds between two times; until now if not finished."""
    return None if started is None else (finished or time.time()) - started


def failure_text(reason: FailureReason | None, exit_code: int | None, message: str | None) -> str:
    """A failure's reason in one line."""
    parts = [str(reason or "failed")]
    if exit_code is not None and f"exit code {exit_code}" not in (message or ""):
        parts.append(f"exit code {exit_code}")
    return ": ".join([*parts, message] if message else parts)


def job_note(job: JobView) -> str:
    """The reason for a job's status in one line."""
    if job.status in UNFINISHED:
        waits = (
            f"waits for run {job.child_runs[-1]}" if job.status is ExecutionStatus.RUNNING and job.child_runs else ""
        )
        return job.pending_reason or waits
    notes = [tests_text(job.tests)] if job.tests is not None else []
    notes += report_notes(job.reports) if job.reports is not None else []
    if job.status is ExecutionStatus.FAILED:
        allowed = "allowed to fail: " if job.allow_failure else ""
        notes.insert(0, allowed + failure_text(job.failure_reason, job.exit_code, job.message))
    elif job.message:
        notes.append(job.message)
    if job.child_runs and job.status is not ExecutionStatus.FAILED:
        notes.append(f"started run {job.child_runs[-1]}")
    return "; ".join(notes)


def job_ending(job: JobView) -> str:
    """A job's outcome in one line."""
    seconds = elapsed(job.started_at, job.finished_at)
    text = str(job.status) if seconds is None else f"{job.status} in {duration(seconds)}"
    note = job_note(job)
    return f"{text}: {note}" if note else text


def tests_text(tests: JUnitSummary) -> str:
    """A test report in a few words."""
    parts = [f"{tests.total} {'test' if tests.total == 1 else 'tests'}"]
    numbers = (("failed", tests.failed), ("errors", tests.errors), ("skipped", tests.skipped))
    return ", ".join(parts + [f"{number} {what}" for what, number in numbers if number])


def _input_fact(name: str, spec: JobInput, value: object) -> str:
    """An input of a job: its value in the next attempt, and what it may be."""
    allowed = f", one of {', '.join(map(input_text, spec.options))}" if spec.options else ""
    about = f": {spec.description}" if spec.description else ""
    return f"input {name} = {input_text(value)} ({spec.type}{allowed}){about}"


def input_text(value: object) -> str:
    """An input's value: a string as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def report_notes(reports: JobReports) -> list[str]:
    """The totals of a job's reports; its links are listed elsewhere."""
    notes = [lines_text(reports.lines)] if reports.lines is not None else []
    return notes + ([quality_text(reports.quality)] if reports.quality is not None else [])


def lines_text(lines: LineCoverage) -> str:
    """A coverage report in a few words."""
    return f"{percent(lines.covered, lines.total)} of {counted(lines.total, 'line')} covered"


def quality_text(quality: CodeQuality) -> str:
    """A code quality report in a few words."""
    total = sum(quality.counts.values())
    if not total:
        return "no code quality issues"
    counts = ", ".join(
        f"{quality.counts[severity]} {severity}" for severity in SEVERITIES if severity in quality.counts
    )
    return f"{counted(total, 'code quality issue')}: {counts}"


def percent(part: int, whole: int) -> str:
    """A share, rounded down: 100 % is all of it. Of nothing, it is 0 %."""
    return f"{1000 * part // whole / 10 if whole else 0:g} %"


def failed_tests(job: JobView, detail: JobDetail | None) -> list[FailedTest]:
    """A job's failed tests, as far as they are known: attempts of an older worker have names only."""
    if detail is not None and detail.reports is not None and detail.reports.failed_tests:
        return detail.reports.failed_tests
    return [FailedTest(name=name) for name in job.tests.failures] if job.tests is not None else []


def failed_test_text(test: FailedTest) -> str:
    """A failed test in one line."""
    return f"{test.name}: {test.message}" if test.message else test.name


def job_facts(job: JobView, detail: JobDetail) -> list[str]:
    """Further facts about a job, one per line."""
    facts = [f"failed test: {failed_test_text(test)}" for test in failed_tests(job, detail)]
    if job.coverage is not None:
        facts.append(f"coverage: {job.coverage:g} %")
    if job.environment:
        facts.append(f"environment: {job.environment}" + (f" at {job.environment_url}" if job.environment_url else ""))
    facts += [_input_fact(name, spec, detail.inputs.get(name)) for name, spec in detail.job.inputs.items()]
    for ref in job.artifacts:
        until = ""
        if ref.expires_at is not None:
            moment = datetime.fromtimestamp(ref.expires_at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
            until = f", kept until {moment}"
        facts.append(f"artifacts: {ref.name or ref.kind}, {ref.kind}, {ref.size} bytes{until}")
    if detail.services:
        facts.append(f"services with a log: {', '.join(detail.services)}")
    return facts
