"""The client against a coordinator that a test plays: what comes late, twice, or in another order."""

from __future__ import annotations

import threading

import zmq

from protocol import PROTOCOL_VERSION
from protocol import messages as m
from protocol.client import Client
from protocol.codec import decode_for_coordinator, encode


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
