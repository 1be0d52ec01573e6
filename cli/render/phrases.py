"""Short phrases for durations, failures and jobs. Imports nothing heavy."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from protocol.job_inputs import allowed, written
from protocol.messages import JobDetail
from protocol.plan import InputValue, JobInput, Release
from protocol.reports import CodeQuality, FailedTest, JobReports, LineCoverage
from protocol.statuses import UNFINISHED, ExecutionStatus, FailureReason
from protocol.views import AttemptView, EnvironmentView, JobView, JUnitSummary, ParentJob

SHORT_ID = 12
"""Characters of an id of files that people see."""

LINE = 80
"""Characters of a description that people see in a line."""


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
        return job.pending_reason or (awaited_run(job) if job.status is ExecutionStatus.RUNNING else "")
    notes = [tests_text(job.tests)] if job.tests is not None else []
    notes += report_notes(job.reports) if job.reports is not None else []
    if job.status is ExecutionStatus.FAILED:
        allowed = "allowed to fail: " if job.allow_failure else ""
        notes.insert(0, allowed + failure_text(job.failure_reason, job.exit_code, job.message))
    elif job.message:
        notes.append(job.message)
    if job.release is not None:
        notes.append(f"released {job.release.tag_name}")
    if job.child_runs and job.status is not ExecutionStatus.FAILED:
        notes.append(f"started {_started_run(job)}")
    if job.mirrors is not None and job.status is not ExecutionStatus.FAILED:
        notes.append(f"as run {job.mirrors}")
    if job.kept_until is not None:
        notes.append("its container is kept")
    return "; ".join(notes)


def awaited_run(job: JobView) -> str:
    """Which run a running job waits for, if it does."""
    if job.mirrors is not None:
        return f"waits for run {job.mirrors}"
    return f"waits for {_started_run(job)}" if job.child_runs else ""


def _started_run(job: JobView) -> str:
    return f"run {job.child_runs[-1]}" + (f" of {job.downstream_project}" if job.downstream_project else "")


def origin_of_run(parent: ParentJob) -> str:
    """The job that has started a run."""
    if parent.project:
        return f"started by {parent.run}: {parent.job} of {parent.project}"
    return f"child of {parent.run}: {parent.job}"


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


def _state(environment: EnvironmentView | None) -> str:
    """What became of a job's environment."""
    if environment is None:
        return ""
    return f", {environment.status}; last deployed by run {environment.deployment.run}: {environment.deployment.job}"


def release_text(release: Release) -> str:
    """A release in one line: tag and name, and the first line of its description."""
    named = release.tag_name + (f" ({release.name})" if release.name != release.tag_name else "")
    first = next(iter(release.description.strip().splitlines()), "")
    return f"{named}: {first[:LINE]}"


def _input_fact(name: str, spec: JobInput, value: InputValue) -> str:
    """An input of a job: its value in the next attempt, and what it may be."""
    about = f": {spec.description}" if spec.description else ""
    return f"input {name} = {written(value)} ({allowed(spec)}){about}"


def report_notes(reports: JobReports) -> list[str]:
    """The totals of a job's reports; its links are listed elsewhere."""
    notes = [lines_text(reports.lines)] if reports.lines is not None else []
    return notes + ([quality_text(reports.quality)] if reports.quality is not None else [])


def lines_text(lines: LineCoverage) -> str:
    """A coverage report in a few words."""
    return f"{lines.percent} of {counted(lines.total, 'line')} covered"


def quality_text(quality: CodeQuality) -> str:
    """A code quality report in a few words."""
    if not quality.total:
        return "no code quality issues"
    return f"{counted(quality.total, 'code quality issue')}: {quality.by_severity}"


def failed_tests(job: JobView, detail: JobDetail | None) -> list[FailedTest]:
    """A job's failed tests, as far as they are known: attempts of an older worker have names only."""
    if detail is not None and detail.reports is not None and detail.reports.failed_tests:
        return detail.reports.failed_tests
    return [FailedTest(name=name) for name in job.tests.failures] if job.tests is not None else []


def failed_test_text(test: FailedTest) -> str:
    """A failed test in one line."""
    return f"{test.name}: {test.message}" if test.message else test.name


def own_files(attempt: AttemptView) -> str:
    """The files that an attempt got in place of its run's; "" if it got those."""
    return f"its own, {attempt.workspace[:SHORT_ID]}" if attempt.workspace else ""


def job_facts(job: JobView, detail: JobDetail) -> list[str]:
    """Further facts about a job, one per line."""
    facts = [f"failed test: {failed_test_text(test)}" for test in failed_tests(job, detail)]
    if job.coverage is not None:
        facts.append(f"coverage: {job.coverage:g} %")
    if job.environment:
        address = f" at {job.environment_url}" if job.environment_url else ""
        facts.append(f"environment: {job.environment}{address}{_state(detail.environment)}")
    if job.release is not None:
        facts.append(f"release: {release_text(job.release)}")
        facts += [f"release link: {link.name} {link.url}" for link in job.release.links]
    if job.pages is not None:
        facts.append(f"pages: {job.pages.files} files, {job.pages.size} bytes from {job.pages.publish}")
    facts += [
        _input_fact(name, spec, detail.inputs.get(name, spec.default)) for name, spec in detail.job.inputs.items()
    ]
    for ref in job.artifacts:
        until = ""
        if ref.expires_at is not None:
            moment = datetime.fromtimestamp(ref.expires_at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
            until = f", kept until {moment}"
        facts.append(f"artifacts: {ref.name or ref.kind}, {ref.kind}, {ref.size} bytes{until}")
    if job.kept_until is not None:
        moment = datetime.fromtimestamp(job.kept_until, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        facts.append(f"container: kept until {moment}, or `longshore drop`; `longshore shell` opens a shell in it")
    if detail.services:
        facts.append(f"services with a log: {', '.join(detail.services)}")
    return facts
