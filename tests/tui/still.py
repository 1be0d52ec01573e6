"""A dashboard that stands still: a fixed model, a fixed clock and canned answers, for pictures of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from protocol import messages as m
from protocol.errors import UsageError
from protocol.events import JobChanged, RunChanged, WorkerChanged
from protocol.plan import ArtifactsSpec, ImageSpec, JobPlan, Need, ServiceSpec, Variable
from protocol.statuses import ExecutionStatus, FailureReason, WorkerStatus
from protocol.views import (
    ArtifactRef,
    AttemptView,
    ExecutorInfo,
    JobView,
    JUnitSummary,
    RunSummary,
    RunView,
    StageView,
    StoryLine,
    WorkerView,
)
from tui.app import LongshoreApp
from tui.client.model import ConnectionState, Model

S = ExecutionStatus
NOW = 1_800_000_000.0
R = TypeVar("R", bound=m.Message)

LOG = (
    b"$ make integration\n"
    b"\x1b[0Ksection_start:1799999990:database[collapsed=true]\r\x1b[0KSet up the database\n"
    b"create table orders\n"
    b"\x1b[0Ksection_end:1799999993:database\r\x1b[0K\n"
    b"\x1b[1;36mIntegration tests\x1b[0m\n"
    b"\x1b[32mPASS\x1b[0m orders\n"
    b"\x1b[32mPASS\x1b[0m basket\n"
    b"\x1b[31mFAIL\x1b[0m checkout\n"
    b"fetching 10%\rfetching 100%\n"
    b"checkout.py:12: error: the basket is empty\n"
    b"$ report\n" + "geprüft: 日本語のテスト\n".encode()
)


def job(number: int, name: str, status: ExecutionStatus, *needs: str, **fields: Any) -> JobView:
    """A job that began so and so many seconds ago."""
    began, took = fields.pop("began", None), fields.pop("took", None)
    return JobView(
        id=number,
        name=name,
        status=status,
        needs=list(needs),
        by_stage=fields.pop("by_stage", not needs),
        attempt=fields.pop("attempt", int(began is not None)),
        attempt_id=f"{number}.1" if began is not None else None,
        created_at=NOW - 100,
        started_at=None if began is None else NOW - began,
        finished_at=None if took is None or began is None else NOW - began + took,
        **fields,
    )


def shop_run() -> RunView:
    """A run with jobs in nearly every state."""
    build = StageView(
        name="build",
        status=S.SUCCESS,
        jobs=[
            job(1, "compile", S.SUCCESS, began=95, took=31, worker="pier-1"),
            job(2, "assets", S.SUCCESS, began=95, took=12, worker="pier-2"),
            job(3, "dependencies", S.SUCCESS, began=83, took=9, worker="pier-2"),
        ],
    )
    test = StageView(
        name="test",
        status=S.RUNNING,
        jobs=[
            job(4, "unit", S.RUNNING, "compile", began=60, worker="pier-1"),
            job(
                5,
                "integration",
                S.FAILED,
                "compile",
                "dependencies",
                began=60,
                took=41,
                worker="pier-2",
                exit_code=2,
                failure_reason=FailureReason.SCRIPT_FAILURE,
                attempt=2,
                artifacts=[ArtifactRef(kind="archive", digest="ab" * 32, size=34567, name="report")],
                tests=JUnitSummary(total=3, failed=1, seconds=4.2, failures=["checkout: the basket is empty"]),
                coverage=81.5,
            ),
            job(6, "browser 1/2", S.PENDING, "compile", pending_reason="no worker has the tag chrome"),
            job(7, "browser 2/2", S.PREPARING, "compile", "assets", worker="pier-1"),
            job(8, "lint", S.FAILED, by_stage=False, began=90, took=2, exit_code=1, allow_failure=True),
        ],
    )
    package = StageView(
        name="package",
        status=S.RUNNING,
        jobs=[
            job(9, "container", S.WAITING, "unit", "assets", worker="pier-1", pending_reason="waiting for unit"),
            job(10, "scan", S.CANCELED, "dependencies"),
        ],
    )
    deploy = StageView(
        name="deploy",
        status=S.CREATED,
        jobs=[
            job(11, "staging", S.SKIPPED),
            job(12, "production", S.MANUAL, when="manual"),
            job(13, "nightly report", S.SCHEDULED),
            job(14, "a job with a very long name that has no room", S.CREATED),
        ],
    )
    jobs = [view for stage in (build, test, package, deploy) for view in stage.jobs]
    counts: dict[str, int] = {}
    for view in jobs:
        counts[view.status.value] = counts.get(view.status.value, 0) + 1
    return RunView(
        id=42,
        name="Let the basket remember its owner",
        status=S.RUNNING,
        project="web/shop",
        ref="main",
        sha="c0ffee1234567890",
        counts=counts,
        created_at=NOW - 100,
        started_at=NOW - 97,
        stages=[build, test, package, deploy],
    )


def summaries() -> list[RunSummary]:
    """Runs in every state that a run can be in."""
    run = shop_run()
    first = RunSummary(**{field: getattr(run, field) for field in RunSummary.__struct_fields__})
    others = [
        (41, "Sell hats too", S.SUCCESS, True, {"success": 13, "failed": 1}, 84),
        (40, "Sell shoes", S.FAILED, False, {"success": 5, "failed": 3, "skipped": 6}, 51),
        (39, "A very long title of a commit that tells the whole story of how it came about", S.CANCELED, False, {}, 9),
        (38, "nightly", S.SUCCESS, False, {"success": 14}, 7260),
        (37, "release 1.0", S.MANUAL, False, {"success": 13, "manual": 1}, 300),
    ]
    return [first] + [
        RunSummary(
            id=number,
            name=name,
            status=status,
            project="web/shop",
            ref="main",
            sha=f"{number:x}" * 20,
            warnings=warnings,
            counts=counts,
            created_at=NOW - (50 - number) ** 4,
            started_at=NOW - (50 - number) ** 4,
            finished_at=NOW - (50 - number) ** 4 + took,
        )
        for number, name, status, warnings, counts, took in others
    ]


def workers() -> list[WorkerView]:
    """Workers in every state."""
    executor = ExecutorInfo(kind="docker", engine="Docker 27.3, linux/amd64")
    return [
        WorkerView(
            name="pier-1",
            status=WorkerStatus.ONLINE,
            slots=4,
            running=3,
            waiting=1,
            labels=["fast", "amd64"],
            jobs=["42/unit", "42/browser 2/2", "42/container"],
            executor=executor,
        ),
        WorkerView(name="pier-2", status=WorkerStatus.DRAINING, slots=2, running=2, jobs=["41/x"], executor=executor),
        WorkerView(name="pier-3", status=WorkerStatus.OFFLINE, slots=64, last_seen=NOW - 400, labels=["arm64"]),
    ]


def detail() -> m.JobDetail:
    """What the coordinator tells of the job `integration`."""
    attempts = [
        AttemptView(
            id=f"5.{number}",
            number=number,
            status=S.FAILED,
            worker="pier-2",
            exit_code=2,
            failure_reason=FailureReason.SCRIPT_FAILURE,
            started_at=NOW - 130 + number * 30,
            finished_at=NOW - 110 + number * 30,
        )
        for number in (1, 2)
    ]
    plan = JobPlan(
        name="integration",
        stage="test",
        script=["make integration", "report"],
        image=ImageSpec(name="python:3.13"),
        services=[ServiceSpec(name="postgres:17", aliases=["db"])],
        needs=[Need(job="compile"), Need(job="dependencies")],
        variables=[Variable(key="TARGET", value="all"), Variable(key="TOKEN", value="x", masked=True)],
        artifacts=ArtifactsSpec(paths=["report/"], junit=["report/junit.xml"]),
        tags=["fast"],
    )
    story = [
        StoryLine(at=NOW - 100, job="integration", attempt=None, text="created"),
        StoryLine(at=NOW - 60, job="integration", attempt="5.2", text="assigned to pier-2"),
        StoryLine(at=NOW - 19, job="integration", attempt="5.2", text="failed: script_failure, exit code 2"),
    ]
    return m.JobDetail(id=0, job=plan, attempts=attempts, story=story)


class StillFeed:
    """Answers as a coordinator would that has just these runs."""

    def __init__(self, model: Model, on_change: Callable[[], None]) -> None:
        self.model = model
        self._on_change = on_change

    def start(self) -> None:
        """Loads the model."""
        run = shop_run()
        snapshot = m.Snapshot(id=0, epoch="e", seq=100, runs=summaries(), workers=workers(), run=run)
        self.model.load_snapshot(snapshot, NOW)
        self.model.set_connection(ConnectionState.ONLINE, NOW - 60, "connected to tcp://127.0.0.1:7700")
        for number, event in enumerate(
            (
                WorkerChanged(worker=workers()[0]),
                JobChanged(run=42, stage="test", job=run.stages[1].jobs[1]),
                JobChanged(run=42, stage="deploy", job=run.stages[3].jobs[1]),
                RunChanged(run=summaries()[1]),
            ),
            101,
        ):
            self.model.apply(_numbered(event, number), NOW - 5 + number - 101)
        self._on_change()

    async def stop(self) -> None:
        """There is nothing to end."""

    async def request(self, kind: type[m.Message], expect: type[R], **_fields: Any) -> R:
        """Canned answers."""
        if expect is m.JobDetail:
            return detail()  # type: ignore[return-value]
        raise UsageError(f"{kind.__name__} is not answered here")

    async def request_payload(self, _kind: type[m.Message], **fields: Any) -> tuple[m.Message, bytes]:
        """Bytes of the log."""
        data = LOG[fields["offset"] : fields["offset"] + fields["length"]]
        reply = m.LogData(id=0, attempt_id="5.2", offset=fields["offset"], size=len(LOG), complete=True)
        return reply, data

    async def watch_run(self, _run: int) -> None:
        """It is watched already."""

    def unwatch_run(self) -> None:
        """It stays."""

    def follow_log(self, _attempt: str, _listener: Callable[..., None]) -> None:
        """Nothing will come."""

    def unfollow_log(self, _attempt: str) -> None:
        """Nothing came."""


def _numbered(event: Any, number: int) -> Any:
    return msgspec.structs.replace(event, epoch="e", seq=number)


def still_app(*, theme: str = "textual-dark") -> LongshoreApp:
    """The dashboard, with a fixed model and clock."""
    app = LongshoreApp("tcp://127.0.0.1:7700", clock=lambda: NOW)
    app.feed = StillFeed(app.model, app.model_changed)  # type: ignore[assignment]
    app.theme = theme
    return app
