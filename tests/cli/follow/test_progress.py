"""What `run` prints of its jobs, whatever order the news comes in."""

from __future__ import annotations

import io

from cli.follow.progress import Progress
from protocol.log_times import LogPiece
from protocol.statuses import ExecutionStatus
from protocol.views import JobView


def test_where_a_job_runs_is_said_once_and_before_its_log_which_may_come_sooner() -> None:
    stream = io.TextIOWrapper(io.BytesIO())
    progress = Progress(1, {"build": ["a"]}, stream, live=False)
    before: JobView | None = None
    for attempt in (1, 2):
        preparing = JobView(id=1, name="a", status=ExecutionStatus.PREPARING, attempt=attempt, worker="w")
        running = JobView(id=1, name="a", status=ExecutionStatus.RUNNING, attempt=attempt, worker="w")
        progress.job_changed(before, preparing)
        progress.job_log(preparing, LogPiece(0, b"hello\n"))
        progress.job_changed(preparing, running)
        progress.job_log(running, LogPiece(6, b"again\n"))
        before = running
    assert stream.buffer.getvalue().decode().splitlines() == [
        "a | running on w",
        "a | hello",
        "a | again",
        "a | running on w, attempt 2",
        "a | hello",
        "a | again",
    ]
