"""Nobody gets in unless let in, and nobody does what their role may not do: real sockets, raw frames."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import msgpack
import pytest
import zmq

from coordinator import server
from coordinator.queries import QueryQueue
from coordinator.security.roles import ALLOWED, EVERYTHING
from coordinator.transport.publisher import MOST_TOPICS
from protocol import PROTOCOL_VERSION, admin
from protocol import messages as m
from protocol.codec import decode_for_client, encode, kind_of
from protocol.dealer import connect_socket
from protocol.errors import LongshoreError, NotLetIn, UsageError
from protocol.events import STATE_TOPIC
from protocol.keys import (
    Credentials,
    JoinToken,
    find_credentials,
    make_private,
    new_key_pair,
    parse_join_token,
    read_credentials,
)
from protocol.statuses import ExecutionStatus as S
from protocol.views import ArtifactRef
from protocol.workspace import TarWorkspace
from tests.security.joining import Wire, join, owner
from tests.security.messages import one_of_each
from tests.support.coordinator_process import Running, WireWorker
from tests.support.eventually import DEADLINE, eventually
from tests.support.plans import job, plan


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    with Running(tmp_path / "state") as made:
        yield made


@pytest.fixture
def elsewhere(running: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another user's view: a home and a state directory without this coordinator's credentials."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("LONGSHORE_STATE", str(tmp_path / "other"))


def test_every_message_that_a_coordinator_takes_is_in_the_table_of_some_role() -> None:
    assert set().union(*ALLOWED.values()) == EVERYTHING
    assert not ALLOWED["viewer"] & {*get_args(m.FromWorker), m.SubmitRun, m.GetWorkspaces, m.Cancel, m.BlobPut}
    assert not ALLOWED["worker"] & ({*get_args(m.FromClient)} - {m.ClientHello})
    assert not ALLOWED["operator"] & {*get_args(m.FromWorker), *get_args(admin.ForOwners)}


@pytest.mark.usefixtures("elsewhere")
def test_without_a_key_nobody_gets_in_and_is_told_how_to(running: Running) -> None:
    with pytest.raises(NotLetIn, match="longshore login TOKEN"), running.client(timeout=60) as client:
        client.list_runs()  # which says so long before its time is up
    stranger = Credentials(running.coordinator.door.access.server.public, new_key_pair())
    with (
        pytest.raises(NotLetIn, match="unknown or revoked"),
        running.client(timeout=60, credentials=stranger) as client,
    ):
        client.list_runs()


@pytest.mark.usefixtures("elsewhere")
def test_a_client_does_not_talk_to_an_impostor(running: Running) -> None:
    known = running.coordinator.door.access.local
    wrong = Credentials(new_key_pair().public, known.keys)
    with pytest.raises(LongshoreError), running.client(timeout=1.5, credentials=wrong) as client:
        client.list_runs()


def test_the_same_user_gets_in_whatever_the_state_directory(
    running: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LONGSHORE_STATE", str(tmp_path / "another"))
    with running.client() as client:
        assert client.list_runs() == []


def test_a_stranger_with_an_open_token_may_only_enrol(running: Running) -> None:
    with owner(running) as client:
        token = client.request(admin.CreateToken, admin.TokenCreated, role="viewer")
    wire = Wire(running, Credentials(token.server, new_key_pair()), decode=decode_for_client)
    for message in one_of_each():
        wire.send(message, b"x" if isinstance(message, m.LogChunk | m.BlobPut) else None)
        assert wire.expect(m.Error).code == "forbidden", message
    feed = running.coordinator.feed.address
    credentials = Credentials(token.server, new_key_pair())
    subscriber = connect_socket(zmq.Context.instance(), zmq.SUB, feed, credentials=credentials)
    subscriber.subscribe(b"")
    assert not subscriber.poll(1500)
    subscriber.close()
    wire.close()


def test_a_message_is_not_even_unpacked_whose_sender_may_not_send_it(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten megabytes of lists take seconds to unpack, in which nobody else is heard."""
    wire = Wire(running, join(running, "viewer", "vera"), decode=decode_for_client)
    decoded: list[object] = []
    monkeypatch.setattr(server, "decode_for_coordinator", decoded.append)
    wire.send_raw(msgpack.packb({"type": "submit_run", "id": 1, "plan": [[]] * 1_000_000}))
    assert wire.expect(m.Error).code == "forbidden"
    assert not decoded
    wire.close()


def test_of_a_message_of_many_frames_a_few_are_kept(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    wire = Wire(running, join(running, "viewer", "vera"), decode=decode_for_client)
    kept: list[int] = []

    def seen(frames: list[bytes]) -> type[m.Message]:
        kept.append(len(frames))
        return kind_of(frames)

    monkeypatch.setattr(server, "kind_of", seen)
    wire.send_raw(*[b"frame"] * 1000)
    assert wire.expect(m.Error).code == "bad_frame"
    assert kept == [3]
    wire.close()


def test_a_worker_gets_nothing_of_the_feed_which_tells_of_all_runs_and_logs(running: Running) -> None:
    worker = join(running, "worker", "w1")
    feed = running.coordinator.feed.address
    refused = connect_socket(zmq.Context.instance(), zmq.SUB, feed, credentials=worker)
    allowed = connect_socket(zmq.Context.instance(), zmq.SUB, feed, credentials=join(running, "viewer", "vera"))
    for subscriber in (refused, allowed):
        subscriber.subscribe(b"")
    assert allowed.poll(int(DEADLINE * 1000))
    assert not refused.poll(1200)  # there is a beacon each second
    refused.close()
    allowed.close()


@pytest.mark.parametrize("role", ["viewer", "operator", "worker"])
def test_a_role_is_refused_all_that_is_not_its_own_and_each_refusal_is_counted(running: Running, role: str) -> None:
    wire = Wire(running, join(running, role, "w1"), decode=decode_for_client)
    before = running.coordinator.refused["forbidden"]
    outside = [message for message in one_of_each() if type(message) not in ALLOWED[role]]  # type: ignore[index]
    for message in outside:
        wire.send(message, b"x" if isinstance(message, m.LogChunk | m.BlobPut) else None)
        assert wire.expect(m.Error).code == "forbidden", message
    assert running.coordinator.refused["forbidden"] - before == len(outside) > 5
    wire.close()


def test_no_worker_takes_the_name_of_another(running: Running) -> None:
    mallory = Wire(running, join(running, "worker", "mallory"), name="alice")
    alice = Wire(running, join(running, "worker", "alice"), name="alice")
    alice.hello()
    mallory.send(m.Hello(protocol=1, name="alice", session="s"))
    assert "not to worker 'alice'" in mallory.expect(m.Error).message
    with pytest.raises(UsageError, match="is taken"):
        join(running, "worker", "alice")
    alice.settle()
    mallory.close()
    alice.close()


def test_no_worker_takes_the_name_of_one_that_works_without_a_key_of_its_own(running: Running) -> None:
    local = WireWorker(running.address, "local")
    local.hello()
    with pytest.raises(UsageError, match="is taken"):
        join(running, "worker", "local")
    local.close()


def test_a_worker_can_say_nothing_of_attempts_that_it_does_not_hold(running: Running) -> None:
    alice = Wire(running, join(running, "worker", "alice"), name="alice")
    alice.hello()
    with owner(running) as client:
        client.submit_run(plan(job("a")))
    attempt = alice.accept().attempt
    alice.send(m.LogChunk(attempt=attempt, offset=0), b"of alice")
    alice.settle()
    mallory = Wire(running, join(running, "worker", "mallory"), name="mallory")
    mallory.hello(slots=1)
    mallory.send(m.LogChunk(attempt=attempt, offset=0), b"forged")
    mallory.send(m.JobStatus(attempt=attempt, seq=9, status=S.SUCCESS, exit_code=0, log_length=0))
    mallory.send(m.GetJobExecution(id=5, attempt=attempt))
    mallory.send(m.GetJobStatus(id=6, attempt=attempt))
    mallory.send(m.GetJobDependencies(id=7, attempt=attempt))
    assert mallory.expect(m.JobStatusReply) == m.JobStatusReply(id=6, attempt=attempt, wanted=False, status=None)
    told = mallory.settle()
    (execution,) = [message for message in told if isinstance(message, m.JobExecution)]
    assert execution.assignment is None
    with owner(running) as client:
        assert client.get_run(1).stages[0].jobs[0].status == S.PREPARING
        assert client.get_log(1, "a")[1] == b"of alice"
    alice.close()
    mallory.close()


def test_a_worker_reads_only_blobs_of_runs_that_it_has_attempts_of(running: Running, tmp_path: Path) -> None:
    def reading(wire: Wire, digest: str) -> str:
        wire.send(m.BlobGet(id=77, digest=digest, offset=0, length=1))
        reply = wire.expect(m.Message, lambda message: getattr(message, "id", None) == 77)
        return reply.code if isinstance(reply, m.Error) else type(reply).__name__

    alice = Wire(running, join(running, "worker", "alice", labels=["a"]), name="alice")
    mallory_key = join(running, "worker", "mallory", labels=["m"])
    mallory = Wire(running, mallory_key, name="mallory")
    alice.hello(labels=["a"])
    mallory.hello(labels=["m"])
    with owner(running) as client:
        digests = []
        for name in ("sources", "artifacts", "other sources"):
            (tmp_path / name).write_text(name)
            digests.append(client.upload(tmp_path / name))
        (sources, size), (artifacts, artifacts_size), (others, others_size) = digests
        secret = plan(job("make", tags=["a"]), job("use", tags=["a"], needs=["make"]))
        client.submit_run(secret, TarWorkspace(digest=sources, size=size))
        client.submit_run(plan(job("mine", tags=["m"])), TarWorkspace(digest=others, size=others_size))
    make = alice.accept().attempt
    mine = mallory.accept().attempt
    assert [reading(alice, digest) for digest in (sources, artifacts, others)] == ["BlobData", "forbidden", "forbidden"]
    ref = ArtifactRef(kind="archive", digest=artifacts, size=artifacts_size)
    alice.status(make, 2, S.RUNNING)
    alice.status(make, 3, S.SUCCESS, exit_code=0, log_length=0, artifacts=[ref])
    alice.accept()
    assert [reading(alice, digest) for digest in (sources, artifacts, others)] == ["BlobData", "BlobData", "forbidden"]
    hidden = (sources, artifacts, "0" * 64, "../../security/owner.key")
    assert [reading(mallory, digest) for digest in hidden] == ["forbidden"] * 4
    assert reading(mallory, others) == "BlobData"

    as_client = Wire(running, mallory_key, name="mallory", decode=decode_for_client)
    as_client.send(m.ClientHello(id=0, protocol=PROTOCOL_VERSION))
    as_client.expect(m.Welcome)
    as_client.send(m.BlobGet(id=1, digest=sources, offset=0, length=1))
    assert as_client.expect(m.Error).code == "forbidden"
    mallory.status(mine, 2, S.RUNNING)
    mallory.status(mine, 3, S.FAILED, exit_code=1, log_length=0)
    assert reading(mallory, others) == "forbidden"
    for wire in (alice, mallory, as_client):
        wire.close()


def test_a_route_that_another_key_claims_is_another_connection(running: Running) -> None:
    """A routing id is the peer's to choose; whoever claims an operator's is no operator."""
    otto = claiming(running, join(running, "operator", "otto"))
    assert answered(otto, m.ClientHello(id=0, protocol=1))
    otto.close()
    credentials = join(running, "viewer", "vera")
    tries: list[zmq.Socket[bytes]] = []

    def gets_in() -> bool:
        """While otto's connection is not gone, ZeroMQ takes no other by its id."""
        tries.append(claiming(running, credentials))
        return answered(tries[-1], m.ClientHello(id=1, protocol=1))

    eventually(gets_in)
    vera = tries[-1]
    vera.send_multipart(encode(m.Cancel(id=2, run=1)))
    assert vera.poll(int(DEADLINE * 1000))
    reply, _ = decode_for_client(vera.recv_multipart())
    assert isinstance(reply, m.Error)
    assert reply.code == "forbidden"
    for socket in tries:
        socket.close()


def claiming(running: Running, credentials: Credentials) -> zmq.Socket[bytes]:
    """A connection by an id that others claim too."""
    socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.DEALER)
    socket.set(zmq.ROUTING_ID, b"the-same")
    socket.set(zmq.LINGER, 0)
    credentials.apply(socket)
    socket.connect(running.address)
    return socket


def answered(socket: zmq.Socket[bytes], message: m.Message) -> bool:
    """Whether a message gets an answer soon."""
    socket.send_multipart(encode(message))
    return bool(socket.poll(1000) and socket.recv_multipart())


def test_revoking_ends_a_live_connection_and_its_feed_at_once(running: Running) -> None:
    credentials = join(running, "viewer", "vera")
    with running.client(credentials=credentials) as vera, owner(running) as client:
        feed, own_feed = vera.feed(), client.feed()
        assert feed.receive(DEADLINE)
        assert own_feed.receive(DEADLINE)
        client.request(admin.RevokeKey, m.Done, key="vera")
        with pytest.raises((UsageError, NotLetIn)):
            vera.list_runs()
        eventually(lambda: not feed.receive(1.5))  # there is a beacon each second
        assert own_feed.receive(DEADLINE)  # those who still may are back by themselves
        client.submit_run(plan(job("a")))
        eventually(lambda: getattr((own_feed.receive(DEADLINE) or [None])[0], "run", None) is not None)
        assert not feed.receive(0.2)
        feed.close()
        own_feed.close()
    with pytest.raises(NotLetIn), running.client(credentials=credentials, timeout=60) as vera:
        vera.list_runs()


def test_a_revoked_worker_is_told_and_gets_no_more_work_and_what_it_had_fails(running: Running) -> None:
    worker = Wire(running, join(running, "worker", "w1"))
    worker.hello()
    with owner(running) as client:
        client.submit_run(plan(job("a")))
        attempt = worker.accept().attempt
        worker.status(attempt, 2, S.RUNNING)
        client.request(admin.RevokeKey, m.Done, key="w1")
        view = client.get_run(1).stages[0].jobs[0]
        assert (view.status, view.message) == (S.FAILED, "the key of worker w1 was revoked")
        assert worker.expect(m.Error).code == "revoked"
        client.submit_run(plan(job("a")))
        worker.send(m.JobStatus(attempt=attempt, seq=9, status=S.SUCCESS, log_length=0))
        assert worker.expect(m.Error).code == "revoked"
        assert not [message for message in worker.inbox if isinstance(message, m.AssignJob)]
        assert client.get_run(1).status is S.FAILED
    worker.close()


def test_a_token_is_good_once_and_for_its_time(running: Running) -> None:
    with owner(running) as client:
        token = client.request(admin.CreateToken, admin.TokenCreated, role="viewer", expires=0.2)
        other = client.request(admin.CreateToken, admin.TokenCreated, role="viewer")
        time.sleep(0.25)
        stranger = Credentials(token.server, new_key_pair())
        with (
            running.client(credentials=stranger) as late,
            pytest.raises(UsageError, match="unknown, used up or expired"),
        ):
            late.enrol(token.secret, "late")
        with running.client(credentials=Credentials(token.server, new_key_pair())) as vera:
            first, again = vera.enrol(other.secret, "vera"), vera.enrol(other.secret, "vera")
            assert (first.name, first.role) == (again.name, again.role) == ("vera", "viewer")
        listed = client.request(admin.ListTokens, admin.TokenList).tokens
        assert {entry.used_by for entry in listed} == {"vera", None}
    # no token is open: strangers do not even come as far as to say something
    with pytest.raises(NotLetIn), running.client(credentials=stranger, timeout=60) as late:
        late.enrol(other.secret, "late")


def test_keys_tokens_and_revocations_outlive_a_restart_and_the_audit_only_grows(tmp_path: Path) -> None:
    with Running(tmp_path / "state") as first:
        vera, otto = join(first, "viewer", "vera"), join(first, "operator", "otto")
        with owner(first) as client:
            client.request(admin.RevokeKey, m.Done, key="vera")
        with first.client(credentials=otto) as client:
            run = client.submit_run(plan(job("a")))
            client.cancel(run)
        store = first.coordinator.store
        address = first.address
    with Running(tmp_path / "state", bind=address) as second:
        with second.client(credentials=otto) as client:
            lines = client.request(admin.GetAudit, admin.AuditList).lines
        told = [(line.actor, line.action) for line in reversed(lines)]
        me = second.coordinator.door.access.owner.name
        assert told == [
            (me, "create token"), ("vera", "enrol"), (me, "create token"), ("otto", "enrol"),
            (me, "revoke"), ("otto", "submit"), ("otto", "cancel"),
        ]  # fmt: skip
        with pytest.raises(NotLetIn), second.client(credentials=vera, timeout=60) as client:
            client.list_runs()
        store = second.coordinator.store
        for statement in ("DELETE FROM audit_line", "UPDATE audit_line SET actor = 'nobody'"):
            with pytest.raises(Exception, match="only grow"):
                store._database.execute_sql(statement)


def test_key_files_are_private_and_one_that_others_can_read_is_not_used(running: Running, tmp_path: Path) -> None:
    state = tmp_path / "state"
    assert state.stat().st_mode & 0o777 == 0o700
    files = [*(state / "security").iterdir(), *(state / "access").iterdir()]
    assert len(files) >= 4
    for path in files:
        assert path.name == ".lock" or path.stat().st_mode & 0o777 == 0o600, path
    (opened,) = [path for path in (state / "access").iterdir() if read_credentials(path)][:1]
    opened.chmod(0o644)
    with pytest.raises(UsageError, match="others can read"):
        read_credentials(opened)


def test_what_is_kept_is_private_also_in_a_directory_that_others_can_look_into(tmp_path: Path) -> None:
    (state := tmp_path / "state").mkdir(mode=0o755)
    (state / "of somebody").touch()
    with Running(state) as running, running.client() as client:
        client.submit_run(plan(job("a")))
        kept = {path.name: path.stat().st_mode & 0o077 for path in state.iterdir() if path.name != "of somebody"}
    assert kept.keys() >= {"logs", "blobs", "security", "access", "longshore.db", "longshore.db-wal"}
    assert not [name for name, open_to_others in kept.items() if open_to_others and not name.endswith(".lock")]


def test_credentials_are_taken_back_when_the_coordinator_ends(tmp_path: Path) -> None:
    with Running(tmp_path / "state") as running:
        assert find_credentials(running.address)
    assert find_credentials(running.address) is None


def test_a_join_token_is_one_line_that_does_not_show_in_a_repr(running: Running) -> None:
    token = JoinToken("tcp://10.0.0.5:7700", running.coordinator.door.access.server.public, "very secret")
    assert parse_join_token(f" {token}\n") == token
    assert "very secret" not in repr(token)
    for bad in ("", "longshore-join-", "longshore-join-AAAA", str(token)[:-9], "x" * 10_000):
        with pytest.raises(UsageError) as error:
            parse_join_token(bad)
        assert len(bad) < 20 or bad not in str(error.value)


def test_a_subscriber_can_not_send_the_feed_anything_large(running: Running) -> None:
    socket = connect_socket(zmq.Context.instance(), zmq.SUB, running.coordinator.feed.address)
    socket.subscribe(os.urandom(5000))
    healthy = connect_socket(zmq.Context.instance(), zmq.SUB, running.coordinator.feed.address)
    healthy.subscribe(STATE_TOPIC)
    assert healthy.poll(int(DEADLINE * 1000))
    socket.close()
    healthy.close()


def test_who_asks_the_feed_for_too_many_topics_is_kept_off_it_and_nobody_else(running: Running) -> None:
    feed = running.coordinator.feed.address
    greedy, modest = (
        connect_socket(zmq.Context.instance(), zmq.SUB, feed, credentials=join(running, "viewer", name), send_limit=0)
        for name in ("greedy", "modest")
    )
    for subscriber in (greedy, modest):
        subscriber.subscribe(STATE_TOPIC)
    assert greedy.poll(int(DEADLINE * 1000))
    for number in range(MOST_TOPICS + 1):
        greedy.subscribe(f"log/{number}.1".encode())
    eventually(lambda: bool(running.coordinator.door.access._off_feed))
    while greedy.poll(1200):  # there is a beacon each second
        greedy.recv_multipart()
    while modest.poll(0):
        modest.recv_multipart()
    assert modest.poll(int(DEADLINE * 1000))
    assert len(running.coordinator.feed._topics) == 1
    greedy.close()
    modest.close()


def test_a_directory_that_has_others_things_in_it_keeps_its_mode(tmp_path: Path) -> None:
    shared, own, new = tmp_path / "shared", tmp_path / "own", tmp_path / "new"
    for directory in (shared, own):
        directory.mkdir()
        directory.chmod(0o755)
    (shared / "of somebody").touch()
    (own / "coordinator.lock").touch()
    for directory in (shared, own, new):
        make_private(directory)
    assert [directory.stat().st_mode & 0o777 for directory in (shared, own, new)] == [0o755, 0o700, 0o700]


def test_what_a_revoked_key_asked_before_is_not_answered_any_more() -> None:
    queue = QueryQueue()
    for route in (b"vera 1", b"otto 1", b"vera 2"):
        queue.add(route, m.ListRuns(id=1))
    queue.drop_key(b"vera")
    assert queue.take() == (b"otto 1", m.ListRuns(id=1))
    assert not queue
