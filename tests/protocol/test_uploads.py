"""Uploads of a client: pieces in flight, lost pieces, restarts, refusals."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import zmq

from coordinator.files.blob_store import BlobStore
from protocol import PROTOCOL_VERSION
from protocol import messages as m
from protocol.client import PIPELINE, Client
from protocol.codec import decode_for_coordinator, encode
from protocol.errors import CoordinatorUnreachable, ProtocolError, UsageError
from protocol.names import CHUNK_BYTES
from protocol.workspace import Pack
from tests.support.coordinator_process import Running
from tests.support.eventually import DEADLINE

QUIET = 300
"""Milliseconds without a request after which the scripted coordinator answers all it has."""


class ScriptedCoordinator:
    """Takes a blob's pieces in order; answers once the client waits. `lost` offsets are dropped, once."""

    def __init__(self, *, lost: tuple[int, ...] = (), refusal: str = "") -> None:
        self.content = b""
        self.offsets: list[int] = []
        self.together: list[int] = []
        self._lost = set(lost)
        self._refusal = refusal

    def answer(self, requests: list[tuple[m.BlobPut, bytes]]) -> list[m.Message]:
        """The answers to requests that arrived together."""
        self.together.append(len(requests))
        return [reply for request, piece in requests if (reply := self._one(request, piece)) is not None]

    def _one(self, request: m.BlobPut, piece: bytes) -> m.Message | None:
        if piece:
            self.offsets.append(request.offset)
            if self._refusal:
                return m.Error(id=request.id, code="too_large", message=self._refusal)
        if piece and request.offset in self._lost:
            self._lost.remove(request.offset)
            return None
        if request.offset == len(self.content):
            self.content += piece
        done = len(self.content) == request.size
        return m.BlobState(id=request.id, digest=request.digest, received=len(self.content), complete=done)


@contextmanager
def client_of(coordinator: ScriptedCoordinator) -> Iterator[Client]:
    """A client of a scripted coordinator."""
    with zmq.Context() as context, context.socket(zmq.ROUTER) as router:
        port = router.bind_to_random_port("tcp://127.0.0.1")
        ended = threading.Event()

        def serve() -> None:
            waiting: list[tuple[m.BlobPut, bytes]] = []
            route = b""
            while not ended.is_set():
                if router.poll(QUIET):
                    route, *frames = router.recv_multipart()
                    request, payload = decode_for_coordinator(frames)
                    if isinstance(request, m.BlobPut):
                        waiting.append((request, bytes(payload)))
                    else:
                        welcome = m.Welcome(protocol=PROTOCOL_VERSION, coordinator="c", epoch="e", feed="")
                        router.send_multipart([route, *encode(welcome)])
                    continue
                for reply in coordinator.answer(waiting) if waiting else ():
                    router.send_multipart([route, *encode(reply)])
                waiting = []

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            with Client(f"tcp://127.0.0.1:{port}", timeout=DEADLINE) as client:
                yield client
        finally:
            ended.set()
            thread.join()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Ten and a half pieces."""
    path = tmp_path / "file"
    path.write_bytes(os.urandom(10 * CHUNK_BYTES + CHUNK_BYTES // 2))
    return path


def test_several_pieces_are_in_flight_on_a_quick_link(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("protocol.client.QUICK_ANSWER", DEADLINE)
    coordinator = ScriptedCoordinator()
    with client_of(coordinator) as client:
        client.upload(file)
    assert coordinator.content == file.read_bytes()
    assert max(coordinator.together) == PIPELINE


def test_one_piece_is_in_flight_on_a_slow_link(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("protocol.client.QUICK_ANSWER", 0.0)
    coordinator = ScriptedCoordinator()
    with client_of(coordinator) as client:
        client.upload(file)
    assert coordinator.content == file.read_bytes()
    assert set(coordinator.together) == {1}


@pytest.mark.parametrize("lost", [0, 4 * CHUNK_BYTES, 10 * CHUNK_BYTES], ids=["first", "middle", "last"])
def test_a_lost_piece_is_sent_again_from_the_coordinator_s_offset(
    file: Path, monkeypatch: pytest.MonkeyPatch, lost: int
) -> None:
    monkeypatch.setattr("protocol.client.QUICK_ANSWER", DEADLINE)
    coordinator = ScriptedCoordinator(lost=(lost,))
    with client_of(coordinator) as client:
        client.upload(file)
    assert coordinator.content == file.read_bytes()
    assert coordinator.offsets.count(lost) == 2


def test_a_refused_piece_ends_the_upload(file: Path) -> None:
    coordinator = ScriptedCoordinator(refusal="over the quota")
    with client_of(coordinator) as client, pytest.raises(UsageError, match="over the quota"):
        client.upload(file)


def test_a_coordinator_s_restart_in_an_upload_goes_unnoticed(file: Path, tmp_path: Path) -> None:
    first = Running(tmp_path / "state")
    restarted: list[Running] = []
    try:
        with Client(first.address, timeout=DEADLINE) as client:
            real: Callable[..., bool] = client._send
            sent = iter(range(1000))

            def send(frames: list[bytes | memoryview], deadline: float) -> bool:
                if next(sent) == 5:
                    first.close()
                    restarted.append(Running(tmp_path / "state", bind=first.address))
                return real(frames, deadline)

            client._send = send  # type: ignore[method-assign]
            digest, size = client.upload(file)
            assert restarted
            client.download(digest, tmp_path / "again")
    finally:
        for running in restarted or [first]:
            running.close()
    assert (tmp_path / "again").read_bytes() == file.read_bytes()
    assert size == file.stat().st_size


def test_the_coordinator_says_which_blobs_it_lacks(file: Path, tmp_path: Path) -> None:
    missing = Pack(digest=hashlib.sha256(b"missing").hexdigest(), size=7)
    with Running(tmp_path / "state") as running, Client(running.address, timeout=DEADLINE) as client:
        digest, size = client.upload(file)
        assert client.missing_blobs([Pack(digest=digest, size=size), missing]) == [missing]
        assert client.missing_blobs([]) == []


def test_a_verification_may_take_longer_than_the_client_s_timeout(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    verified, asked = threading.Event(), iter(range(1000))
    real_verify = BlobStore._verify

    def verify(store: BlobStore, digest: str) -> ProtocolError | None:
        assert verified.wait(DEADLINE)
        return real_verify(store, digest)

    monkeypatch.setattr(BlobStore, "_verify", verify)
    with Running(tmp_path / "state") as running, Client(running.address, timeout=DEADLINE) as client:
        _ = client.welcome
        client.timeout = 0.3
        real_introduce = client._introduce

        def introduce(deadline: float) -> None:
            if next(asked) == 2:  # it has waited three times as long as its timeout
                verified.set()
            real_introduce(time.monotonic() + DEADLINE)

        monkeypatch.setattr(client, "_introduce", introduce)
        digest, size = client.upload(file)
        assert verified.is_set()
        client.timeout = DEADLINE
        assert client.missing_blobs([Pack(digest=digest, size=size)]) == []


def test_an_upload_to_a_coordinator_that_is_gone_ends(file: Path, tmp_path: Path) -> None:
    with Running(tmp_path / "state") as running:
        client = Client(running.address, timeout=DEADLINE)
        _ = client.welcome
    client.timeout = 0.3
    with client, pytest.raises(CoordinatorUnreachable):
        client.upload(file)
