"""Conversations with a real coordinator over TCP: what workers and clients say, and what they are told."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgpack
import pytest
import zmq

from coordinator.queries import MASKED
from coordinator.server import Coordinator
from coordinator.settings import CoordinatorSettings
from coordinator.transport.router import CUT_OFF_BYTES
from protocol import messages as m
from protocol.client import Client
from protocol.codec import MAX_MAP_BYTES, encode
from protocol.errors import LongshoreError, UsageError
from protocol.events import JobChanged, LogAppended, RunChanged, log_topic
from protocol.plan import ServiceSpec, Variable
from protocol.statuses import ExecutionStatus as S
from protocol.statuses import WorkerStatus
from protocol.workspace import TarWorkspace
from tests.support.coordinator_process import Running, WireWorker
from tests.support.eventually import DEADLINE, eventually
from tests.support.plans import job, plan
from tests.support.postgres import Cluster


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    with Running(tmp_path / "state") as running:
        yield running


@pytest.fixture
def client(running: Running) -> Iterator[Client]:
    with running.client() as client:
        yield client


@pytest.fixture
def worker(running: Running) -> Iterator[WireWorker]:
    made = WireWorker(running.address)
    yield made
    made.close()


# a run, from its submission to its end


def test_a_run_goes_through_its_stages_on_a_worker(client: Client, worker: WireWorker) -> None:
    worker.hello()
    run = client.submit_run(plan(job("a", "build"), job("b", "test")), source=m.Source(ref="main"))
    assert worker.run(b"of a\n").job.name == "a"
    assert worker.run(b"of b\n").job.name == "b"
    view = client.get_run(run)
    assert (view.status, view.ref) == (S.SUCCESS, "main")
    assert [(each.name, each.status, each.worker) for stage in view.stages for each in stage.jobs] == [
        ("a", S.SUCCESS, "w1"),
        ("b", S.SUCCESS, "w1"),
    ]
    data, content = client.get_log(run, "b")
    assert (content, data.size, data.complete) == (b"of b\n", 5, True)
    assert client.list_runs()[0].counts == {"success": 2}


def test_a_job_tells_its_attempts_and_its_story(client: Client, worker: WireWorker) -> None:
    worker.hello()
    run = client.submit_run(plan(job("a")))
    worker.run(status=S.FAILED, exit_code=3)
    client.retry(run)
    worker.run(b"again\n")
    detail = client.get_job(run, "a")
    assert [(each.number, each.status, each.exit_code) for each in detail.attempts] == [
        (1, S.FAILED, 3),
        (2, S.SUCCESS, 0),
    ]
    assert any("exit code 3" in line.text for line in detail.story)
    assert client.get_log(run, "a", attempt=1)[1] == b"hello\n"
    assert client.get_log(run, "a")[1] == b"again\n"
    with pytest.raises(UsageError, match="no attempt 7"):
        client.get_log(run, "a", attempt=7)


def test_the_same_token_starts_one_run(client: Client, worker: WireWorker) -> None:
    first = client.submit_run(plan(job("a")), token="once")
    assert client.submit_run(plan(job("a")), token="once") == first
    worker.hello()
    worker.run()
    assert client.submit_run(plan(job("a")), token="once") == first
    assert [run.id for run in client.list_runs()] == [first]


def test_a_final_status_waits_for_the_whole_log(client: Client, worker: WireWorker) -> None:
    worker.hello()
    run = client.submit_run(plan(job("a")))
    attempt = worker.accept().attempt
    worker.status(attempt, 2, S.RUNNING)
    assert worker.log(attempt, 0, b"0123") == 4
    worker.send(m.JobStatus(attempt=attempt, seq=3, status=S.SUCCESS, exit_code=0, log_length=10))
    ack = worker.expect(m.Ack, lambda ack: ack.attempt == attempt)
    assert (ack.status_seq, ack.log_offset) == (None, 4)
    assert client.get_run(run).status is S.RUNNING
    assert worker.log(attempt, 4, b"456789") == 10
    worker.status(attempt, 3, S.SUCCESS, exit_code=0, log_length=10)
    assert client.get_run(run).status is S.SUCCESS
    assert client.get_log(run, "a")[1] == b"0123456789"


def test_log_pieces_that_come_twice_or_too_early_do_no_harm(client: Client, worker: WireWorker) -> None:
    worker.hello()
    run = client.submit_run(plan(job("a", services=[ServiceSpec(name="db")])))
    attempt = worker.accept().attempt
    assert worker.log(attempt, 3, b"345") == 0
    assert worker.log(attempt, 0, b"012") == 3
    assert worker.log(attempt, 0, b"012345") == 6
    assert worker.log(attempt, 2, b"2345") == 6
    assert worker.log(attempt, 0, b"db up\n", "service-db") == 6
    assert client.get_log(run, "a")[1] == b"012345"
    assert client.get_log(run, "a", stream="service-db")[1] == b"db up\n"
    assert client.get_log(run, "a", offset=-2)[1] == b"45"
    assert client.get_log(run, "a", offset=2, length=3)[1] == b"234"
    assert not client.get_log(run, "a")[0].complete


def test_the_log_of_a_job_that_never_ran_is_empty(client: Client) -> None:
    run = client.submit_run(plan(job("a")))
    data, content = client.get_log(run, "a")
    assert (data.attempt_id, data.size, data.complete, content) == (None, 0, False, b"")
    client.cancel(run)
    assert client.get_log(run, "a")[0].complete


def test_statuses_that_come_together_are_taken_in_their_order(client: Client, worker: WireWorker) -> None:
    worker.hello()
    run = client.submit_run(plan(job("a"), job("b")))
    first, second = (worker.expect(m.AssignJob).assignment.attempt for _ in range(2))
    told = [
        m.JobStatus(attempt=first, seq=1, status=S.PREPARING),
        m.JobStatus(attempt=second, seq=1, status=S.PREPARING),
        m.JobStatus(attempt=first, seq=2, status=S.RUNNING),
        m.JobStatus(attempt=first, seq=3, status=S.SUCCESS, exit_code=0, log_length=0),
    ]
    worker.send(m.JobStatuses(statuses=told))
    acks = [worker.expect(m.Ack) for _ in range(2)]
    assert {ack.attempt: ack.status_seq for ack in acks} == {first: 3, second: 1}
    assert [job.status for job in client.get_run(run).stages[0].jobs] == [S.SUCCESS, S.PREPARING]
    story = [line.text for line in client.get_job(run, "a").story]
    assert story[-3:] == ["w1 prepares it", "w1 runs it", "succeeded on w1"]


def test_a_worker_is_told_to_drop_what_it_does_not_hold(worker: WireWorker) -> None:
    worker.hello()
    worker.send(m.LogChunk(attempt="77.1", offset=0), b"bytes that nobody wants")
    assert worker.expect(m.DiscardAttempt).attempt == "77.1"
    worker.send(m.JobStatus(attempt="77.1", seq=1, status=S.RUNNING))
    assert worker.expect(m.DiscardAttempt).attempt == "77.1"


def test_a_restarted_worker_learns_where_its_attempt_stands(client: Client, worker: WireWorker) -> None:
    worker.hello()
    client.submit_run(plan(job("a")))
    attempt = worker.accept().attempt
    worker.status(attempt, 5, S.RUNNING)
    worker.log(attempt, 0, b"12345")
    worker.send(m.GetJobStatus(id=1, attempt=attempt))
    reply = worker.expect(m.JobStatusReply)
    assert (reply.wanted, reply.status, reply.log_offset, reply.status_seq) == (True, S.RUNNING, 5, 5)
    worker.send(m.GetJobExecution(id=2, attempt=attempt))
    assignment = worker.expect(m.JobExecution).assignment
    assert assignment is not None
    assert assignment.job.name == "a"
    worker.send(m.GetJobDependencies(id=3, attempt=attempt))
    assert worker.expect(m.JobDependencies).dependencies == []


def test_cancel_reaches_the_worker_and_ends_the_run(client: Client, worker: WireWorker) -> None:
    worker.hello()
    run = client.submit_run(plan(job("a", "build"), job("b", "test")))
    attempt = worker.accept().attempt
    worker.status(attempt, 2, S.RUNNING)
    assert client.cancel(run) == 2
    assert worker.expect(m.CancelJob).attempt == attempt
    worker.status(attempt, 3, S.CANCELED, log_length=0)
    assert client.get_run(run).status is S.CANCELED


def test_a_drained_worker_gets_no_job_until_it_is_wanted_again(client: Client, worker: WireWorker) -> None:
    worker.hello()
    client.drain("w1")
    assert worker.expect(m.Drain).on
    client.submit_run(plan(job("a")))
    assert client.workers()[0].status is WorkerStatus.DRAINING
    assert not any(isinstance(message, m.AssignJob) for message in worker.settle())
    client.drain("w1", on=False)
    worker.run()


def test_masked_values_never_leave_through_a_view(client: Client) -> None:
    secret = Variable(key="TOKEN", value="s3cret", masked=True)
    open_one = Variable(key="PLAIN", value="shown")
    service = ServiceSpec(name="db", variables=[secret])
    run = client.submit_run(plan(job("a", variables=[secret, open_one], services=[service])))
    detail = client.get_job(run, "a")
    assert detail.job.variables == [Variable(key="TOKEN", value=MASKED, masked=True), open_one]
    assert "s3cret" not in repr(detail) + repr(client.get_run(run)) + repr(client.snapshot(run=run))


# introductions


def test_a_stranger_is_asked_to_say_hello(worker: WireWorker) -> None:
    worker.send(m.Heartbeat())
    assert worker.expect(m.Error).code == "not_introduced"
    worker.send(m.GetRun(id=5, run=1))
    error = worker.expect(m.Error)
    assert (error.code, error.id) == ("not_introduced", 5)
    worker.hello()


def test_another_protocol_version_is_told_what_to_do(worker: WireWorker) -> None:
    worker.send(m.Hello(protocol=99, name="w1", session="s"))
    error = worker.expect(m.Error)
    assert error.code == "bad_version"
    assert "same version of Longshore" in error.message
    worker.send(m.ClientHello(id=3, protocol=0))
    error = worker.expect(m.Error)
    assert (error.code, error.id) == ("bad_version", 3)


@pytest.mark.parametrize(
    "wrong", [{"name": "a b"}, {"name": ""}, {"name": "x" * 64}, {"name": "../w"}, {"slots": 0}, {"slots": 10**6}]
)
def test_a_worker_that_can_not_be_is_refused(running: Running, worker: WireWorker, wrong: dict[str, Any]) -> None:
    worker.send(m.Hello(**{"protocol": 1, "name": "w1", "session": "s", **wrong}))
    assert worker.expect(m.Error).code == "bad_field"
    with running.client() as client:
        assert client.workers() == []


def test_each_side_sends_only_what_is_its_own(running: Running, worker: WireWorker) -> None:
    worker.hello()
    worker.send(m.Cancel(id=9, run=1))
    error = worker.expect(m.Error)
    assert (error.code, error.id) == ("bad_request", 9)
    other = WireWorker(running.address)
    other.send(m.ClientHello(id=1, protocol=1))
    other.expect(m.Welcome)
    other.send(m.Goodbye())
    assert other.expect(m.Error).code == "bad_request"
    other.close()


def test_the_newest_connection_under_a_name_is_the_worker(running: Running, client: Client, worker: WireWorker) -> None:
    worker.hello()
    newer = WireWorker(running.address)
    newer.hello()
    client.submit_run(plan(job("a")))
    newer.run()
    worker.send(m.Heartbeat())
    error = worker.expect(m.Error)
    assert error.code == "not_yours"
    assert "'w1'" in error.message
    assert not any(isinstance(message, m.AssignJob) for message in worker.inbox)
    newer.close()


def test_a_worker_that_said_goodbye_is_offline_at_once(client: Client, worker: WireWorker) -> None:
    worker.hello()
    assert client.workers()[0].status is WorkerStatus.ONLINE
    worker.send(m.Goodbye())
    eventually(lambda: client.workers()[0].status is WorkerStatus.OFFLINE)
    worker.send(m.Heartbeat())
    assert worker.expect(m.Error).code == "not_introduced"


# what is wrong never disturbs the rest


@pytest.mark.parametrize(
    "frames",
    [
        [b"noise"],
        [b""],
        [b"", encode(m.Heartbeat())[0]],
        [msgpack.packb({"type": "no_such"})],
        [msgpack.packb({"type": "heartbeat"}), b"payload"],
        [b"a", b"b", b"c", b"d"],
        [b"\x91" * 50_000],
    ],
    ids=range(7),
)
def test_garbage_is_answered_counted_and_forgotten(
    running: Running, client: Client, worker: WireWorker, frames: list[bytes]
) -> None:
    worker.hello()
    worker.send_raw(*map(bytes, frames))
    error = worker.expect(m.Error)
    assert error.code in ("bad_frame", "unknown_type")
    assert sum(running.coordinator.refused.values()) == 1
    client.submit_run(plan(job("a")))
    worker.run()


def test_a_message_that_is_too_large_is_told_so(running: Running, worker: WireWorker) -> None:
    worker.send(m.ClientHello(id=1, protocol=1))
    worker.expect(m.Welcome)
    token = "x" * (MAX_MAP_BYTES + 1)
    worker.send(m.SubmitRun(id=7, token=token, plan=plan(job("a"))))
    error = worker.expect(m.Error)
    assert (error.code, error.id) == ("too_large", 7)
    assert str(MAX_MAP_BYTES) in error.message


def test_an_oversized_frame_costs_only_its_own_connection(running: Running, client: Client) -> None:
    rude = WireWorker(running.address, "rude")
    rude.hello()
    cut = rude._socket.get_monitor_socket(zmq.EVENT_DISCONNECTED)
    rude.send_raw(bytes(CUT_OFF_BYTES + 1))
    assert cut.poll(int(DEADLINE * 1000)), "its connection was not cut"
    rude._socket.disable_monitor()
    worker = WireWorker(running.address, labels=["good"])
    worker.hello()
    client.submit_run(plan(job("a", tags=["good"])))
    worker.run()
    rude.close()
    worker.close()


def test_a_bad_field_of_a_request_is_told_to_its_sender(running: Running, worker: WireWorker) -> None:
    worker.send(m.ClientHello(id=1, protocol=1))
    worker.expect(m.Welcome)
    worker.send_raw(msgpack.packb({"type": "get_run", "id": 44, "run": "one"}))
    error = worker.expect(m.Error)
    assert (error.code, error.id) == ("bad_field", 44)
    assert "`int`" in error.message


def test_a_failure_in_one_message_is_its_own(running: Running, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise ZeroDivisionError("a mistake of ours")

    monkeypatch.setattr(running.coordinator.engine, "cancel", fails)
    monkeypatch.setattr(running.coordinator.store, "list_runs", fails)
    with pytest.raises(LongshoreError, match="a mistake of ours"):
        client.cancel(1)
    with pytest.raises(LongshoreError, match="a mistake of ours"):
        client.list_runs()
    assert running.coordinator.refused["internal"] == 1
    assert client.submit_run(plan(job("a"))) == 1


@pytest.mark.parametrize(
    ("ask", "part"),
    [
        (lambda client: client.get_run(77), "no run 77"),
        (lambda client: client.get_run((1 << 63) - 1), "no run"),
        (lambda client: client.get_job(1, "nobody"), "no job 'nobody'"),
        (lambda client: client.get_log(1, "nobody"), "no job 'nobody'"),
        (lambda client: client.get_log(1, "a", stream="../x"), "bad log name"),
        (lambda client: client.cancel(77), "run 77"),
        (lambda client: client.retry(77), "no run 77"),
        (lambda client: client.play(1, "a"), "nothing to play"),
        (lambda client: client.drain("nobody"), "no worker 'nobody'"),
        (lambda client: client.snapshot(run=77), "no run 77"),
        (lambda client: client.submit_run(plan(job("a")), token="x" * 201), "token"),
        (lambda client: client.submit_run(plan(job("a")), TarWorkspace(digest="ab" * 32, size=1)), "not uploaded"),
        (lambda client: client.download("ab" * 32, Path("/nowhere/x")), "No such file"),
    ],
)
def test_what_is_not_there_is_one_clear_line(
    client: Client, worker: WireWorker, ask: Callable[[Client], object], part: str
) -> None:
    worker.hello()
    client.submit_run(plan(job("a")))
    attempt = worker.accept().attempt
    worker.status(attempt, 2, S.RUNNING)
    with pytest.raises((UsageError, OSError), match=part):
        ask(client)


# files


def test_a_workspace_is_uploaded_once_and_fetched_by_workers(
    client: Client, worker: WireWorker, tmp_path: Path
) -> None:
    file = tmp_path / "workspace.tar"
    file.write_bytes(bytes(range(256)) * 10_000)
    digest, size = client.upload(file)
    assert digest == hashlib.sha256(file.read_bytes()).hexdigest()
    assert client.upload(file) == (digest, size)
    client.download(digest, tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == file.read_bytes()
    worker.hello()
    client.submit_run(plan(job("a")), TarWorkspace(digest=digest, size=size))
    assert worker.accept().workspace == TarWorkspace(digest=digest, size=size)
    worker.send(m.BlobGet(id=5, digest=digest, offset=10, length=4))
    assert worker.expect(m.BlobData).size == size
    with pytest.raises(UsageError, match=f"has {size} bytes, not 5"):
        client.submit_run(plan(job("a")), TarWorkspace(digest=digest, size=5))


def test_pieces_that_are_sent_ahead_are_each_answered(worker: WireWorker) -> None:
    content = bytes(range(256)) * 4000
    digest = hashlib.sha256(content).hexdigest()
    worker.hello()
    for i, offset in enumerate(range(0, len(content), 256_000)):
        piece = content[offset : offset + 256_000]
        worker.send(m.BlobPut(id=i, digest=digest, size=len(content), offset=offset), piece)
    states = [worker.expect(m.BlobState) for _ in range(4)]
    assert [(state.id, state.received, state.complete) for state in states] == [
        (0, 256_000, False),
        (1, 512_000, False),
        (2, 768_000, False),
        (3, 1_024_000, True),
    ]


def test_an_upload_that_is_not_what_its_name_says_is_refused(worker: WireWorker) -> None:
    worker.hello()
    worker.send(m.BlobPut(id=1, digest="ab" * 32, size=5, offset=0), b"wrong")
    error = worker.expect(m.Error)
    assert (error.id, error.code) == (1, "bad_request")
    assert "was discarded" in error.message


# the feed


def test_a_snapshot_and_the_events_after_it_make_the_present_state(client: Client, worker: WireWorker) -> None:
    feed = client.feed()
    first = client.submit_run(plan(job("a"), job("b")))
    snapshot = client.snapshot(run=first)
    assert snapshot.run is not None
    states = {each.name: each.status for stage in snapshot.run.stages for each in stage.jobs}
    worker.hello()
    worker.run()
    worker.run()
    expected, summary = snapshot.seq, None
    while summary is None or summary.status is not S.SUCCESS:
        received = feed.receive(DEADLINE)
        assert received is not None
        event = received[0]
        assert event.epoch == snapshot.epoch
        if event.seq <= snapshot.seq:
            continue
        if isinstance(event, RunChanged | JobChanged):
            assert event.seq > expected
        assert event.seq in (expected, expected + 1)
        expected = event.seq
        if isinstance(event, JobChanged):
            states[event.job.name] = event.job.status
        if isinstance(event, RunChanged):
            summary = event.run
    while len({*states.values()}) > 1:
        received = feed.receive(DEADLINE)
        assert received is not None
        if isinstance(received[0], JobChanged):
            states[received[0].job.name] = received[0].job.status
    assert states == {"a": S.SUCCESS, "b": S.SUCCESS}
    assert client.snapshot().runs[0] == summary
    feed.close()


def test_a_log_is_announced_as_it_is_stored_and_ends_before_its_job(
    running: Running, client: Client, worker: WireWorker
) -> None:
    worker.hello()
    client.submit_run(plan(job("a")))
    attempt = worker.accept().attempt
    feed = client.feed()
    feed.subscribe(log_topic(attempt))
    eventually(lambda: running.coordinator.feed.is_watched(attempt))
    worker.status(attempt, 2, S.RUNNING)
    worker.log(attempt, 0, b"one ")
    worker.log(attempt, 4, b"two")
    worker.status(attempt, 3, S.SUCCESS, exit_code=0, log_length=7)
    log, complete, ended = b"", False, False
    while not ended:
        received = feed.receive(DEADLINE)
        assert received is not None
        event, payload = received
        if isinstance(event, LogAppended):
            assert event.offset == len(log)
            log += bytes(payload)
            complete = event.complete
        if isinstance(event, JobChanged) and event.job.status is S.SUCCESS:
            ended = True
    assert (log, complete) == (b"one two", True)
    feed.close()


# starting


def test_an_address_that_is_taken_leaves_nothing_open(running: Running, tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(UsageError, match="in use"):
            Running(tmp_path / "other", bind=running.address)
    Running(tmp_path / "other").close()


@pytest.mark.parametrize(
    "address",
    [{"bind": "tcp://nowhere"}, {"bind": "tcp://127.0.0.1:99999"}, {"feed_bind": "tcp://[::1"}, {"bind": "x"}],
)
def test_an_address_that_can_not_be_is_one_clear_line(tmp_path: Path, address: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"bad address|can't listen"):
        Running(tmp_path / "other", **address)
    Running(tmp_path / "other").close()


def test_one_state_directory_has_one_coordinator(running: Running, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"state directory .* in use by another coordinator \(process \d+\)"):
        Running(tmp_path / "state")


def test_a_state_directory_that_can_not_be_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LongshoreError, match="can't use the state directory"):
        Running(tmp_path / "file")


def test_all_of_it_works_on_postgres(postgres: Cluster, tmp_path: Path) -> None:
    url = postgres.new_database()
    with Running(tmp_path / "state", database=url) as running, running.client() as client:
        worker = WireWorker(running.address)
        worker.hello()
        run = client.submit_run(plan(job("a", "build"), job("b", "test", needs=["a"])))
        worker.run()
        worker.run(status=S.FAILED, exit_code=1)
        assert client.get_run(run).status is S.FAILED
        worker.close()
    with Running(tmp_path / "state", database=url) as running, running.client() as client:
        assert client.list_runs()[0].counts == {"success": 1, "failed": 1}


def test_it_can_be_reached_within_its_own_process(tmp_path: Path) -> None:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()

    class Inside(Coordinator):
        def __init__(self, settings: CoordinatorSettings) -> None:
            super().__init__(settings, context=context)

    running = Running(tmp_path / "state", kind=Inside, bind="inproc://router", feed_bind="inproc://feed")
    with Client("inproc://router", context=context) as client:
        assert client.submit_run(plan(job("a"))) == 1
        feed = client.feed()
        client.cancel(1)
        assert feed.receive(DEADLINE) is not None
        feed.close()
    running.close()
    context.term()
