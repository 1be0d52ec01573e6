"""One odd row in the database, or odd file beside it, hurts what it belongs to, is told of, and ends no coordinator."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from coordinator.maintenance.retention import Retention
from protocol import messages as m
from protocol.errors import LongshoreError
from protocol.statuses import ExecutionStatus as S
from protocol.workspace import GitWorkspace, Pack
from tests.support.coordinator_process import Running, WireWorker
from tests.support.eventually import eventually
from tests.support.plans import PROJECT, job, plan

LOG = b"hello\n" * 10
ODD, SOUND = 2, 3
"""Runs of the state: the first has ended, these two are under way, and each has one job of its own number."""

ROWS = {
    "plan-that-is-no-json": "UPDATE run_plan SET plan_json = '{broken' WHERE run_id = 2",
    "plan-of-bytes": "UPDATE run_plan SET plan_json = x'ff00fe' WHERE run_id = 2",
    "plan-of-another-shape": "UPDATE run_plan SET plan_json = '[]' WHERE run_id = 2",
    "no-plan": "DELETE FROM run_plan WHERE run_id = 2",
    "no-such-job-in-the-plan": "UPDATE job SET name = 'other' WHERE run_id = 2",
    "no-job": "DELETE FROM job WHERE run_id = 2",
    "no-stage": "UPDATE job SET stage_position = 7 WHERE run_id = 2",
    "source": "UPDATE run SET source_json = 'nope' WHERE id = 2",
    "status-of-a-job": "UPDATE job SET status = 'odd' WHERE run_id = 2",
    "status-of-a-stage": "UPDATE stage SET status = 'odd' WHERE run_id = 2",
    "status-of-an-attempt": "UPDATE attempt SET status = 'odd' WHERE job_id = 2",
    "reason-of-an-attempt": "UPDATE attempt SET failure_reason = 'odd' WHERE job_id = 2",
    "workspace-that-is-no-json": "INSERT INTO run_workspace VALUES (2, '{broken')",
    "workspace-of-another-shape": """INSERT INTO run_workspace VALUES (2, '{"form":"git","packs":[]}')""",
    "workspace-of-bytes": "INSERT INTO run_workspace VALUES (2, x'ff00fe')",
    "artifacts": "UPDATE attempt SET artifacts_json = 'nope' WHERE job_id = 2",
}


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state with a run that has ended and two that are under way."""
    state = tmp_path_factory.mktemp("original") / "state"
    with Running(state) as running, running.client() as client:
        worker = WireWorker(running.address)
        worker.hello()
        client.submit_run(plan(job("first")))
        worker.run()
        for _ in (ODD, SOUND):
            client.submit_run(plan(job("a")))
            attempt = worker.accept().attempt
            worker.status(attempt, 2, S.RUNNING)
            worker.log(attempt, 0, LOG)
        worker.close()
    return state


@pytest.fixture
def state(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "state"))


def execute(state: Path, statement: str) -> None:
    with sqlite3.connect(state / "longshore.db") as database:
        database.execute(statement)
    database.close()


def goes_on(running: Running) -> WireWorker:
    """The worker comes back; what it has of the sound run is taken to its end, and new runs are taken."""
    worker = WireWorker(running.address)
    held = [m.HeldAttempt(attempt=f"{run}.1", status=S.RUNNING) for run in (ODD, SOUND)]
    assert f"{SOUND}.1" in worker.hello(attempts=held).keep
    worker.status(f"{SOUND}.1", 3, S.SUCCESS, exit_code=0, log_length=len(LOG))
    with running.client() as client:
        assert client.get_run(SOUND).status is S.SUCCESS
        assert client.get_run(1).status is S.SUCCESS
        run = client.submit_run(plan(job("new")))
        worker.run()
        assert client.get_run(run).status is S.SUCCESS
    return worker


@pytest.mark.parametrize("statement", ROWS.values(), ids=ROWS)
def test_a_run_under_way_whose_rows_make_no_sense_fails_and_no_other_does(
    state: Path, statement: str, caplog: pytest.LogCaptureFixture
) -> None:
    execute(state, statement)
    for start in (1, 2):
        caplog.clear()
        with Running(state) as running, running.client() as client:
            assert {run.id: run.status for run in client.list_runs()}[ODD] is S.FAILED
            with pytest.raises(LongshoreError, match=f"run {ODD} can't be read: its rows in the database are invalid"):
                client.get_run(ODD)
            with pytest.raises(LongshoreError, match=f"run {ODD} can't be read"):
                client.retry(ODD)
            assert "internal error" not in caplog.text
            assert caplog.text.count(f"run {ODD} can't be read") == (1 if start == 1 else 0), "told of once"
            if start == 1:
                goes_on(running).close()


def test_a_run_of_an_unknown_status_fails(state: Path, caplog: pytest.LogCaptureFixture) -> None:
    execute(state, "UPDATE run SET status = 'odd' WHERE id = 2")
    with Running(state) as running, running.client() as client:
        assert client.get_run(ODD).status is S.FAILED
        assert f"run {ODD} can't be read" in caplog.text
        goes_on(running).close()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE run SET source_json = 'nope' WHERE id = 1",
        "UPDATE job SET status = 'odd' WHERE run_id = 1",
        "UPDATE attempt SET artifacts_json = 'nope' WHERE job_id = 1",
        "INSERT INTO run_workspace VALUES (1, 'nope')",
    ],
)
def test_an_ended_run_whose_rows_make_no_sense_is_said_to_be_unreadable(state: Path, statement: str) -> None:
    execute(state, statement)
    with Running(state) as running, running.client() as client:
        assert [run.id for run in client.list_runs()] == [3, 2, 1]
        with pytest.raises(LongshoreError, match="run 1 can't be read"):
            client.get_run(1)
        assert client.get_run(SOUND).status is S.RUNNING


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        (
            "INSERT INTO access_key VALUES ('k', 'odd', 'worker', 't', 1, 'x', NULL, '{')",
            "ignoring the key of 'odd'",
        ),
        ("INSERT INTO access_key VALUES ('k', 'odd', 'king', 't', 1, 'x', NULL, NULL)", "unknown role 'king'"),
        ("INSERT INTO join_token VALUES ('d', 'worker', 1, 'x', 9e9, NULL, 'nope')", "ignoring join token d"),
        ("INSERT INTO secret VALUES ('', 'ODD', '[]', 'nope', 0, 'x', 1, 'x')", "ignoring secret 'ODD'"),
        ("UPDATE worker SET labels_json = '{broken'", "worker w1 can't be read"),
    ],
)
def test_a_key_token_secret_or_worker_that_makes_no_sense_is_told_of_and_not_used(
    state: Path, statement: str, told: str, caplog: pytest.LogCaptureFixture
) -> None:
    execute(state, statement)
    with Running(state) as running:
        assert told in caplog.text
        goes_on(running).close()


def of_the_odd_log(state: Path) -> Path:
    return state / "logs" / "0" / f"{ODD}.1.job.log"


FILES: dict[str, Callable[[Path], object]] = {
    "log-missing": lambda state: of_the_odd_log(state).unlink(),
    "log-cut-off": lambda state: os.truncate(of_the_odd_log(state), 5),
    "journal": lambda state: [(state / "logs" / f"journal-{i}").write_bytes(os.urandom(5000)) for i in (0, 1)],
    "stray-logs": lambda state: (state / "logs" / "0" / "what").write_text("x"),
    "stray-blobs": lambda state: (state / "blobs" / "partial" / "odd name").write_text("x"),
    "lock": lambda state: (state / "coordinator.lock").write_bytes(bytes(range(256))),
}


@pytest.mark.parametrize("damage", FILES.values(), ids=FILES)
def test_an_odd_file_hurts_its_own_run_at_most(state: Path, damage: Callable[[Path], object]) -> None:
    damage(state)
    with Running(state) as running, running.client() as client:
        worker = goes_on(running)
        stored = worker.log(f"{ODD}.1", len(LOG), b"more\n")
        worker.status(f"{ODD}.1", 3, S.SUCCESS, exit_code=0, log_length=stored)
        assert client.get_run(ODD).status is S.SUCCESS
        assert len(client.get_log(ODD, "a")[1]) == stored
        worker.close()


@pytest.mark.parametrize("path", ["coordinator.lock", "logs/journal-0"])
def test_a_folder_where_a_file_should_be_is_named(state: Path, path: str) -> None:
    (state / path).unlink(missing_ok=True)
    (state / path).mkdir()
    with pytest.raises(LongshoreError, match=rf"Is a directory \(.*{path}\)"):
        Running(state)


def test_artifacts_that_make_no_sense_do_not_stop_the_housekeeping(
    state: Path, caplog: pytest.LogCaptureFixture
) -> None:
    execute(state, "UPDATE attempt SET artifacts_json = 'nope' WHERE job_id = 1")
    blob = state / "blobs" / "ab" / ("ab" * 32)
    blob.parent.mkdir(exist_ok=True)
    blob.write_text("of no run")
    with Running(state, retention=Retention(every=0.1, young=0.0)):
        eventually(lambda: not blob.exists())
    assert "the artifacts of attempt 1.1 are not kept" in caplog.text
    assert "housekeeping failed" not in caplog.text


@pytest.mark.parametrize("odd", ["'nope'", """'{"form":"git"'""", "x'ff00fe'"])
def test_a_workspace_that_makes_no_sense_costs_no_other_run_its_packs(
    state: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, odd: str
) -> None:
    (file := tmp_path / "pack").write_text("a pack")
    with Running(state) as running, running.client() as client:
        digest, size = client.upload(file)
        sound = GitWorkspace(snapshot="0" * 40, packs=[Pack(digest=digest, size=size)])
        client.submit_run(plan(job("b")), sound)
    execute(state, f"INSERT INTO run_workspace VALUES (1, {odd})")
    for path in (state / "blobs").glob("??/*"):
        os.utime(path, (0, 0))
    with Running(state, retention=Retention(every=0.1, young=0.0)) as running, running.client() as client:
        eventually(lambda: "the workspace of run 1 is not kept" in caplog.text)
        eventually(lambda: running.coordinator.housekeeper.counted.by_project == {PROJECT: size})
        assert client.workspaces(PROJECT) == [sound]
    assert "housekeeping failed" not in caplog.text


def test_an_odd_schedule_channel_or_delivery_is_left_out_and_the_others_go_on(state: Path) -> None:
    delivery = "INSERT INTO delivery VALUES ('{}', {}, 'a/b', '{}', '{}', 'pending', 0, 0, '', 0, 0)"
    status = '{"project":"a/b","sha":"1","context":"c","status":"success"}'
    for statement in (
        "INSERT INTO schedule VALUES (1, 'a/b', 't', '{broken', 0, 0, 'x', 0, NULL, NULL, NULL, '')",
        "INSERT INTO channel VALUES (1, 'a/b', 't', 'x', 'change', '[]', 'not sealed', 0, 'x')",
        "INSERT INTO channel VALUES (2, 'a/b', 'u', 'x', 'change', 'nope', 'not sealed', 0, 'x')",
        delivery.format("odd", 1, "forge a/b", "{broken"),
        delivery.format("lane", 2, "channel x", "{}"),
        delivery.format("sound", 3, "forge a/b", status),
    ):
        execute(state, statement)
    with Running(state) as running, running.client() as client:
        assert client.request(m.ListSchedules, m.ScheduleList).schedules == []
        assert [channel.id for channel in client.request(m.ListChannels, m.ChannelList).channels] == [1]
        assert len(client.request(m.ListDeliveries, m.DeliveryList).deliveries) == 3
        (due,) = client.request(m.TakeDeliveries, m.PendingDeliveries).deliveries
        assert due.key == "sound"
        goes_on(running).close()
