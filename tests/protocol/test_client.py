"""The client against a coordinator that a test plays: what comes late, twice, or in another order."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
import zmq

from coordinator.server import Coordinator
from coordinator.settings import CoordinatorSettings
from protocol import PROTOCOL_VERSION
from protocol import messages as m
from protocol.client import Client
from protocol.codec import decode_for_coordinator, encode
from protocol.errors import CoordinatorUnreachable, NotLetIn
from protocol.keys import Credentials, find_credentials, new_key_pair
from tests.support.coordinator_process import Running


def test_an_error_to_an_older_request_is_no_answer_to_a_hello() -> None:
    with zmq.Context() as context, context.socket(zmq.ROUTER) as router:
        port = router.bind_to_random_port("tcp://127.0.0.1")

        def coordinator() -> None:
            """Has been restarted: it does not know who asks, and has found the question twice."""
            route, *frames = router.recv_multipart()
            hello = decode_for_coordinator(frames)[0]
            assert isinstance(hello, m.ClientHello)
            welcome = m.Welcome(protocol=PROTOCOL_VERSION, coordinator="c", epoch="e", feed="")
            router.send_multipart([route, *encode(welcome)])
            route, *frames = router.recv_multipart()
            question = decode_for_coordinator(frames)[0]
            assert isinstance(question, m.ListRuns)
            for _ in range(2):
                stranger = m.Error(id=question.id, code="not_introduced", message="say hello first")
                router.send_multipart([route, *encode(stranger)])
            route, *frames = router.recv_multipart()
            router.send_multipart([route, *encode(welcome)])
            route, *frames = router.recv_multipart()
            again = decode_for_coordinator(frames)[0]
            assert isinstance(again, m.ListRuns)
            router.send_multipart([route, *encode(m.RunList(id=again.id, runs=[]))])

        thread = threading.Thread(target=coordinator)
        thread.start()
        with Client(f"tcp://127.0.0.1:{port}", timeout=5) as client:
            assert client.list_runs() == []
        thread.join()


def test_a_request_on_a_connection_that_was_refused_before_is_told_so_instead_of_waiting_for_ever(
    tmp_path: Path,
) -> None:
    coordinator = Coordinator(CoordinatorSettings(state=tmp_path, bind="tcp://127.0.0.1:0"))
    coordinator.start()
    thread = threading.Thread(target=coordinator.run)
    thread.start()
    try:
        known = find_credentials(coordinator.address)
        assert known is not None
        stranger = Credentials(server=known.server, keys=new_key_pair())
        with Client(coordinator.address, timeout=30, credentials=stranger) as client:
            assert client._dealer.monitor.poll(10_000), "it was let in"
            with pytest.raises(NotLetIn):
                client.list_runs()
    finally:
        coordinator.stop()
        thread.join()


def test_a_request_to_a_coordinator_that_reads_nothing_ends_with_its_timeout() -> None:
    with zmq.Context() as context, Client("tcp://127.0.0.1:9", timeout=0.2, context=context) as client:
        client._welcome = m.Welcome(protocol=PROTOCOL_VERSION, coordinator="c", epoch="e", feed="")
        while client._socket.poll(0, zmq.POLLOUT):  # so much waits unsent in the socket
            client._socket.send(b"", zmq.DONTWAIT)
        with pytest.raises(CoordinatorUnreachable):
            client.list_runs()


def test_a_refusal_that_comes_before_the_connecting_thread_goes_on_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect = zmq.Socket.connect

    def connect_slowly(socket: zmq.Socket[bytes], address: str) -> object:
        connected = connect(socket, address)
        if address.startswith("tcp://"):
            time.sleep(0.5)  # the refusal comes meanwhile
        return connected

    with Running(tmp_path, bind="tcp://127.0.0.1:0") as running:
        known = find_credentials(running.address)
        assert known is not None
        monkeypatch.setattr(zmq.Socket, "connect", connect_slowly)
        stranger = Credentials(server=known.server, keys=new_key_pair())
        with Client(running.address, timeout=30, credentials=stranger) as client, pytest.raises(NotLetIn):
            client.list_runs()
