"""The outcome of a run for people. Names and log lines come from jobs."""

from __future__ import annotations

from collections.abc import Iterator

from rich.text import Text

from cli.render.phrases import counted, duration, elapsed, failed_test_text, failure_text
from cli.summary.commands import (
    log_command,
    retry_command,
    retry_with_workspace_command,
    shell_command,
    show_command,
)
from cli.summary.outcome import Failure, Outcome
from cli.summary.timing import TimedJob
from protocol.display import clean
from protocol.log_errors import COMMAND
from protocol.views import RunView

LONG_RUN_SECONDS = 60.0
"""From this duration on, the end of a run says where its time went."""
TESTS_SHOWN = 10
KEEP_HINT = "for a shell in a failed job, run with --keep-on-failure"


def failure_lines(outcome: Outcome) -> Iterator[list[Text]]:
    """A paragraph for each failed job."""
    for failure in outcome.failures:
        yield list(_paragraph(failure))
    if outcome.further:
        yield [Text(f"and {counted(outcome.further, 'more failed job')}")]
    if any(failure.job.worker and not shell_command(failure) for failure in outcome.failures):
        yield [Text(KEEP_HINT)]


def _paragraph(failure: Failure) -> Iterator[Text]:
    job, excerpt = failure.job, failure.excerpt
    allowed = " (allowed)" if job.allow_failure else ""
    why = failure_text(job.failure_reason, job.exit_code, job.message)
    headline = f"{job.name} ({failure.stage}) failed{allowed}: {why}"
    yield Text(clean(headline), style="bold yellow" if job.allow_failure else "bold red")
    if excerpt.section:
        yield _line(f"in section: {' > '.join(excerpt.section)}")
    if excerpt.command and COMMAND + excerpt.command not in excerpt.last_lines:
        yield _line(f"last command: {excerpt.command}")
    if excerpt.first_error:
        yield _line("first error:")
        yield from _log(excerpt.first_error)
    if excerpt.last_lines:
        yield _line("end of its log:")
        yield from _log(excerpt.last_lines)
    if failure.tests:
        yield _line("failed tests:")
        yield from (_line(f"  {failed_test_text(test)}", style="red") for test in failure.tests[:TESTS_SHOWN])
        failed = max(job.tests.failed + job.tests.errors if job.tests is not None else 0, len(failure.tests))
        if failed > TESTS_SHOWN:
            yield _line(f"  and {failed - TESTS_SHOWN} more: {show_command(failure)}")
    if command := log_command(failure):
        yield _line(f"whole log: {command}")
    yield _line(f"run again: {retry_command(failure)}")
    if command := retry_with_workspace_command(failure):
        yield _line(f"run again on edited files: {command}")
    if command := shell_command(failure):
        yield _line(f"shell in it: {command}")


def _log(lines: list[str]) -> Iterator[Text]:
    return (_line(f"| {line}") for line in lines)


def _line(text: str, style: str = "") -> Text:
    return Text("  " + clean(text.expandtabs()), style=style)


def timing_lines(run: RunView, outcome: Outcome) -> list[Text]:
    """Where the time of a long run went; nothing for a short one."""
    if (elapsed(run.started_at, run.finished_at) or 0.0) < LONG_RUN_SECONDS or not outcome.timing.slowest:
        return []
    path = " > ".join(_step(job) for job in outcome.timing.critical_path)
    slowest = ", ".join(_named(run, job) for job in outcome.timing.slowest)
    return [Text(clean(f"critical path: {path}")), Text(clean(f"slowest jobs: {slowest}"))]


def _step(job: TimedJob) -> str:
    waited = f" (after waiting {duration(job.waited)})" if job.waited >= 1.0 else ""
    return f"{job.job} {duration(job.seconds)}{waited}"


def _named(run: RunView, job: TimedJob) -> str:
    place = "" if job.run == run.id else f" (run {job.run})"
    return f"{job.job}{place} {duration(job.seconds)}"
