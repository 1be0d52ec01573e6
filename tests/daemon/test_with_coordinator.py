"""Real workers on a real coordinator over TCP, with the fake engine: the flow, nothing lost, nothing done twice."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from coordinator.engine.effects import Turn
from coordinator.engine.settings import Settings
from coordinator.engine.state import Now
from coordinator.handlers import Outbox
from protocol import messages as m
from protocol.client import Client
from protocol.keys import find_credentials
from protocol.plan import ArtifactsSpec, JobPlan, RetrySpec
from protocol.statuses import ENDED, ExecutionStatus, WorkerStatus
from protocol.views import JobView, RunView
from tests.support.coordinator_process import Running
from tests.support.eventually import DEADLINE, eventually
from tests.support.fake_coordinator import RunningWorker, start_worker
from tests.support.fake_executor import FakeEngine, until
from tests.support.flaky_link import Cable
from tests.support.plans import job, plan
from tests.support.views import jobs_of_run


class Fleet:
    """A coordinator that can be restarted, and workers, each with an engine that outlives it."""

    def __init__(self, state: Path, workers: int, settings: Settings | None = None) -> None:
        self.state = state
        self.settings = settings or Settings()
        self.engines = [FakeEngine() for _ in range(workers)]
        self.workers: list[RunningWorker] = []
        self.address = "tcp://127.0.0.1:0"
        self.start_coordinator()
        self.workers = [self.start_worker(number) for number in range(workers)]

    def start_coordinator(self) -> None:
        self._running = Running(self.state / "coordinator", bind=self.address, engine=self.settings)
        self.coordinator, self.address = self._running.coordinator, self._running.address

    def stop_coordinator(self) -> None:
        self._running.close()

    def start_worker(self, number: int) -> RunningWorker:
        return start_worker(self.address, self.state / f"w{number}", self.engines[number], name=f"w{number}")

    def client(self) -> Client:
        return Client(self.address, timeout=DEADLINE)

    def submit(self, *jobs: JobPlan) -> int:
        with self.client() as client:
            return client.submit_run(plan(*jobs))

    def ended(self, run: int) -> RunView:
        """The run, once it has ended. Raises AssertionError with what it is like if that takes too long."""
        with self.client() as client:
            return eventually(lambda: client.get_run(run), so=lambda view: view.status in ENDED)

    def job_is(self, run: int, job: str, status: ExecutionStatus) -> JobView:
        """The job, once it has a status."""

        def look() -> JobView:
            return next(one for one in jobs_of_run(client.get_run(run)) if one.name == job)

        with self.client() as client:
            return eventually(look, so=lambda view: view.status is status)

    def log(self, run: int, job: str) -> bytes:
        with self.client() as client:
            return client.get_log(run, job)[1]

    def close(self) -> None:
        for worker in self.workers:
            if worker.alive:
                worker.leave()
        self.stop_coordinator()
        for engine in self.engines:
            engine.kill_all()


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    made = Fleet(tmp_path, workers=3)
    yield made
    made.close()


def test_a_chain_runs_in_order_and_files_and_variables_pass_from_worker_to_worker(fleet: Fleet) -> None:
    for engine in fleet.engines:
        engine.artifacts["make"] = [("archive", "artifacts", b"archive"), ("dotenv", "build.env", b"COLOR=green\n")]
    run = fleet.submit(
        job("make", script="echo made", needs=[], artifacts=ArtifactsSpec(paths=["out"])),
        *(job(f"use-{number}", script="echo $COLOR; sleep 0.3", needs=["make"]) for number in range(6)),
    )
    view = fleet.ended(run)
    assert view.status is ExecutionStatus.SUCCESS
    assert {fleet.log(run, f"use-{number}") for number in range(6)} == {b"green\n"}
    used = [one for one in jobs_of_run(view) if one.name.startswith("use-")]
    assert len({one.worker for one in used}) == 3


def test_when_a_worker_is_cut_off_one_job_survives_and_the_other_moves_and_neither_does_both(tmp_path: Path) -> None:
    settings = Settings(heartbeat=0.2, offline_after=1.0, restart_grace=0.0, lease=2.0, lease_margin=2.5)
    fleet = Fleet(tmp_path, workers=0, settings=settings)
    try:
        cable, keys = Cable(fleet.address), find_credentials(fleet.address)
        fleet.engines = [far, near] = [FakeEngine(), FakeEngine()]
        fleet.workers.append(start_worker(cable.address, tmp_path / "far", far, name="far", credentials=keys))
        go = tmp_path / "go"
        moves = RetrySpec(max=2, when=["runner_system_failure"])
        run = fleet.submit(
            job("moves", script=f"{until(go)}; echo moved", needs=[], retry=moves),
            job("stays", script=f"{until(go)}; echo stayed", needs=[]),
        )
        fleet.job_is(run, "moves", ExecutionStatus.RUNNING)
        fleet.job_is(run, "stays", ExecutionStatus.RUNNING)
        fleet.workers.append(start_worker(fleet.address, tmp_path / "near", near, name="near"))
        cable.cut()
        near.await_step("release", "1.2")
        assert "kill" in far.steps("1.1")
        assert far.boxes["1.1"].state == "exited"
        assert "kill" not in far.steps("2.1")
        go.touch()
        cable.mend()
        by_name = {one.name: one for one in jobs_of_run(fleet.ended(run))}
        assert (by_name["moves"].status, by_name["moves"].attempt, by_name["moves"].worker) == ("success", 2, "near")
        assert (by_name["stays"].status, by_name["stays"].attempt, by_name["stays"].worker) == ("success", 1, "far")
        assert fleet.log(run, "stays") == b"stayed\n"
        far.await_step("remove", "1.1")
        cable.close()
    finally:
        fleet.close()


@pytest.mark.parametrize("away", ["cut off", "cut off unnoticed", "stopped"])
def test_a_job_that_is_canceled_while_its_worker_is_away_ends_once_and_its_container_when_the_worker_is_back(
    tmp_path: Path, away: str
) -> None:
    noticed = away != "cut off unnoticed"
    settings = Settings(heartbeat=0.2, offline_after=1.0 if noticed else 60.0, restart_grace=0.0)
    fleet = Fleet(tmp_path, workers=0, settings=settings)
    try:
        cable, keys = Cable(fleet.address), find_credentials(fleet.address)
        fleet.engines = [engine] = [FakeEngine()]

        def start() -> RunningWorker:
            return start_worker(cable.address, tmp_path / "w", engine, name="w", grace=0.1, credentials=keys)

        fleet.workers.append(start())
        run = fleet.submit(
            job("long", script="echo begun; sleep 60", needs=[]), job("after", script="noop", needs=["long"])
        )
        fleet.job_is(run, "long", ExecutionStatus.RUNNING)
        if away == "stopped":
            fleet.workers.pop().leave()
        else:
            cable.cut()
        with fleet.client() as client:
            eventually(lambda: not noticed or client.workers()[0].status is WorkerStatus.OFFLINE)
            client.cancel(run)
            if noticed:
                assert fleet.ended(run).status is ExecutionStatus.CANCELED
            assert engine.boxes["1.1"].state == "running"
        cable.mend()
        if away == "stopped":
            fleet.workers.append(start())
        engine.await_step("discard" if away == "stopped" else "remove", "1.1")
        eventually(lambda: not engine.boxes)
        view = fleet.ended(run)
        assert {one.name: one.status for one in jobs_of_run(view)} == {"long": "canceled", "after": "canceled"}
        with fleet.client() as client:
            told = client.get_job(run, "long")
        assert [attempt.status for attempt in told.attempts] == [ExecutionStatus.CANCELED]
        ends = [line.text for line in told.story if line.text.startswith("canceled") and "stops it" not in line.text]
        assert len(ends) == 1, told.story
        cable.close()
    finally:
        fleet.close()


def test_a_job_that_moves_does_not_run_for_ever_when_its_lease_ends_between_a_hello_and_its_welcome(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("daemon.worker.WELCOME_WAIT", DEADLINE)  # one hello
    settings = Settings(heartbeat=0.2, lease=2.0, lease_margin=0.5, restart_grace=0.0)
    fleet = Fleet(tmp_path, workers=0, settings=settings)
    fleet.engines = [engine] = [FakeEngine()]
    take = fleet.coordinator.handlers.take
    go = tmp_path / "go"
    again = threading.Event()  # it is the worker's second life

    def slow(route: bytes, message: m.Message, payload: bytes, now: Now, outbox: Outbox) -> None:
        """A coordinator that is busy for so long that the worker gives up meanwhile what its hello has listed."""
        if isinstance(message, m.Hello) and again.is_set():
            again.clear()
            assert [held.attempt for held in message.attempts] == ["1.1"]
            engine.await_step("discard", "1.1")
            go.touch()
        take(route, message, payload, now, outbox)

    fleet.coordinator.handlers.take = slow  # type: ignore[method-assign,assignment]
    try:
        fleet.workers.append(start_worker(fleet.address, tmp_path / "w", engine, name="w"))
        moves = RetrySpec(max=2, when=["runner_system_failure"])
        run = fleet.submit(job("moves", script=until(go), needs=[], retry=moves))
        fleet.job_is(run, "moves", ExecutionStatus.RUNNING)
        fleet.workers.pop().leave()
        engine.boxes["1.1"].lease = settings.lease
        again.set()
        fleet.workers.append(start_worker(fleet.address, tmp_path / "w", engine, name="w"))
        (view,) = jobs_of_run(fleet.ended(run))
        assert (view.status, view.attempt) == ("success", 2)
    finally:
        fleet.close()


@pytest.mark.parametrize("restarted", [False, True])
def test_a_worker_lets_go_of_a_job_whose_last_acknowledgement_got_lost_though_its_run_is_over(
    tmp_path: Path, restarted: bool
) -> None:
    fleet = Fleet(tmp_path, workers=0)
    lost = threading.Event()
    engine = FakeEngine()
    done_before_the_loss: list[str] = []
    send_frames = fleet.coordinator.send_frames

    def lose(turn: Turn, outbox: Outbox) -> None:
        """As if it was killed after the commit, or the connection broke."""
        if any(run.status in ENDED for run in turn.runs):
            done_before_the_loss.extend(engine.steps("1.1"))
            turn.sends = [send for send in turn.sends if not isinstance(send.message, m.Ack)]
            lost.set()
        send_frames(turn, outbox)

    fleet.coordinator.send_frames = lose  # type: ignore[method-assign]
    try:
        fleet.engines = [engine]
        ack_timeout = 60.0 if restarted else 0.2
        fleet.workers.append(start_worker(fleet.address, tmp_path / "w", engine, name="w", ack_timeout=ack_timeout))
        run = fleet.submit(job("only", script="echo done", needs=[]))
        assert fleet.ended(run).status is ExecutionStatus.SUCCESS
        assert lost.wait(DEADLINE)
        assert done_before_the_loss
        assert "remove" not in done_before_the_loss
        if restarted:
            assert "remove" not in engine.steps("1.1")
            fleet.stop_coordinator()
            fleet.start_coordinator()
        engine.await_step("remove", "1.1")
        eventually(lambda: not engine.boxes)
        with fleet.client() as client:
            told = client.get_job(run, "only")
        assert [attempt.status for attempt in told.attempts] == [ExecutionStatus.SUCCESS]
        assert sum(line.text.startswith("succeeded") for line in told.story) == 1
        assert fleet.log(run, "only") == b"done\n"
    finally:
        fleet.close()


def test_runs_survive_restarts_of_workers_and_coordinator_and_no_attempt_runs_twice(fleet: Fleet) -> None:
    chance = random.Random(2)
    scripts = ["noop", "echo a; sleep 0.05; echo b", "sleep 0.2; echo c"]
    outputs = {"noop": b"", scripts[1]: b"a\nb\n", scripts[2]: b"c\n"}
    chosen: dict[tuple[int, str], str] = {}
    runs = []
    end = time.monotonic() + 4
    while time.monotonic() < end:
        made = []
        for number in range(20):
            needs = (
                {chance.randrange(max(0, number - 8), number) for _ in range(chance.randrange(4))} if number else set()
            )
            script = chance.choice(scripts)
            made.append(job(f"j{number}", script=script, needs=[f"j{need}" for need in sorted(needs)]))
        run = fleet.submit(*made)
        chosen.update(((run, one.name), one.script[0]) for one in made)
        runs.append(run)
        time.sleep(chance.random() * 0.4)
        if chance.random() < 0.5:
            fleet.stop_coordinator()
            time.sleep(chance.random() * 0.3)
            fleet.start_coordinator()
        else:
            number = chance.randrange(3)
            fleet.workers[number].leave()
            time.sleep(chance.random() * 0.3)
            fleet.workers[number] = fleet.start_worker(number)
    views = [fleet.ended(run) for run in runs]
    assert {view.status for view in views} == {ExecutionStatus.SUCCESS}
    released = Counter(attempt for engine in fleet.engines for step, attempt in engine.history if step == "release")
    assert set(released.values()) == {1}
    for (run, name), script in chosen.items():
        assert fleet.log(run, name) == outputs[script]
    eventually(lambda: [engine.boxes for engine in fleet.engines], so=lambda boxes: boxes == [{}, {}, {}])
