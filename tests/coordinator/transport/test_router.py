"""Nobody who reads slowly, or not at all, costs the others anything or the coordinator more than a bound."""

from __future__ import annotations

import hashlib
import statistics
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import zmq

from coordinator.transport import router as router_module
from coordinator.transport.router import Router
from protocol import PROTOCOL_VERSION
from protocol import messages as m
from protocol.codec import decode_for_client, encode
from tests.support.coordinator_process import Running, WireWorker
from tests.support.eventually import DEADLINE, eventually
from tests.support.plans import job, plan


@pytest.fixture
def router(context: zmq.Context[zmq.Socket[bytes]]) -> Router:
    return Router(context, "tcp://127.0.0.1:0")


def connect(context: zmq.Context[zmq.Socket[bytes]], router: Router) -> tuple[zmq.Socket[bytes], bytes]:
    """A peer with small buffers, and the route to it."""
    dealer = context.socket(zmq.DEALER)
    dealer.set(zmq.RCVHWM, 5)
    dealer.set(zmq.RCVBUF, 4096)
    dealer.set(zmq.LINGER, 0)
    dealer.connect(router.address)
    dealer.send_multipart(encode(m.Heartbeat()))
    assert router.socket.poll(int(DEADLINE * 1000))
    ((route, _),) = router.receive()
    return dealer, route


def id_of(dealer: zmq.Socket[bytes]) -> int:
    """The id of the answer that has arrived."""
    message, _ = decode_for_client(dealer.recv_multipart())
    assert isinstance(message, m.LogData)
    return message.id


def ids(dealer: zmq.Socket[bytes]) -> Iterator[int]:
    """The ids of the answers that arrive, as long as some do."""
    while dealer.poll(300):
        yield id_of(dealer)


def test_what_a_slow_peer_can_not_take_waits_in_order(context: zmq.Context[zmq.Socket[bytes]], router: Router) -> None:
    dealer, route = connect(context, router)
    router.introduce_client(route)
    padding = bytes(100_000)
    for id in range(500):
        router.send(route, m.LogData(id=id, attempt_id=None, offset=0, size=0, complete=False), padding)
    assert router.flush()
    got: list[int] = []
    while len(got) < 500 and dealer.poll(int(DEADLINE * 1000)):
        got.append(id_of(dealer))
        router.flush()
    assert got == list(range(500))
    assert not router.flush()


def test_a_peer_that_lets_too_much_wait_is_forgotten(
    context: zmq.Context[zmq.Socket[bytes]], router: Router, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(router_module, "QUEUE_BYTES", 1 << 20)
    dealer, route = connect(context, router)
    router.introduce_worker(route, "w1")
    padding = bytes(100_000)
    sent = 0
    while router.peer(route) is not None:
        router.send(route, m.LogData(id=sent, attempt_id=None, offset=0, size=0, complete=False), padding)
        sent += 1
        assert sent < 10_000
    assert not router.flush()
    router.send_to_worker("w1", [m.Drain()])  # to nobody
    got = list(ids(dealer))
    assert got == list(range(len(got)))
    assert len(got) < sent


def test_a_peer_that_is_gone_is_forgotten(context: zmq.Context[zmq.Socket[bytes]], router: Router) -> None:
    dealer, route = connect(context, router)
    router.introduce_worker(route, "w1")
    dealer.close()

    def forgotten() -> bool:
        router.send_to_worker("w1", [m.Drain()])
        return router.peer(route) is None

    eventually(forgotten)
    router.send(route, m.Drain())


def test_a_turn_takes_a_bounded_number_of_messages(
    context: zmq.Context[zmq.Socket[bytes]], router: Router, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(router_module, "TURN_MESSAGES", 10)
    monkeypatch.setattr(router_module, "TURN_BYTES", 3_000_000)
    dealer, _ = connect(context, router)

    def most_at_once(*frames: Sequence[bytes | memoryview]) -> int:
        """The most messages that a turn takes of these."""
        for each in frames:
            dealer.send_multipart(each)
        sizes: list[int] = []
        while sum(sizes) < len(frames):
            assert router.socket.poll(int(DEADLINE * 1000))
            time.sleep(0.05)  # so that more of them are likely to be there
            sizes.append(len(list(router.receive())))
        return max(sizes)

    small, large = encode(m.Heartbeat()), encode(m.LogChunk(attempt="1.1", offset=0), bytes(1_000_000))
    assert eventually(lambda: most_at_once(*[small] * 25), so=lambda most: most >= 10) == 10
    assert 1 < eventually(lambda: most_at_once(*[large] * 8), so=lambda most: most > 1) <= 4


def test_a_client_that_asks_and_never_reads_holds_nobody_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(router_module, "QUEUE_BYTES", 8 << 20)
    blob = tmp_path / "blob"
    blob.write_bytes(bytes(1 << 20))
    digest = hashlib.sha256(blob.read_bytes()).hexdigest()
    with Running(tmp_path / "state") as running, running.client() as client:
        client.upload(blob)
        greedy = WireWorker(running.address, decode=decode_for_client)
        greedy.send(m.ClientHello(id=0, protocol=PROTOCOL_VERSION))
        greedy.expect(m.Welcome)
        for id in range(300):
            greedy.send(m.BlobGet(id=id, digest=digest, offset=0, length=1 << 20))
        took = []
        for _ in range(50):
            begun = time.monotonic()
            client.list_runs()
            took.append(time.monotonic() - begun)
        assert statistics.median(took) < 1.0
        worker = WireWorker(running.address, "w2", labels=["fast"])
        worker.hello()
        client.submit_run(plan(job("a", tags=["fast"])))
        worker.run()
        worker.close()
        greedy.close()
