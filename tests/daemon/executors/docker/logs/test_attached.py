"""What a container writes, as long as the engine passes it on."""

from __future__ import annotations

import socket

import pytest

from daemon.executors.common.script import END_MARK_START, RELEASED_MARK
from daemon.executors.docker.logs.attached import AttachedOutput
from daemon.executors.docker.logs.multiplexed import ScriptEnd
from tests.support.eventually import eventually


def piece(stream: int, data: bytes) -> bytes:
    """As the engine sends it."""
    return bytes((stream, 0, 0, 0)) + len(data).to_bytes(4, "big") + data


def test_output_that_the_engine_never_ends_is_followed_only_as_long_as_the_container_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("daemon.executors.docker.logs.attached.QUIET_SECONDS", 0.05)
    near, far = socket.socketpair()
    log = bytearray()
    looks = iter([True, True, False])
    with near, far:
        live = AttachedOutput(near, lambda end: None)
        far.sendall(piece(2, RELEASED_MARK) + piece(1, b"one\n"))
        assert live.follow(log.extend, lambda: next(looks)) == (4, False)
    assert log == b"one\n"
    assert list(looks) == []


def test_output_that_was_not_taken_in_time_is_incomplete_even_if_only_its_end_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("daemon.executors.docker.logs.attached.MAX_BACKLOG_BYTES", 10)
    near, far = socket.socketpair()
    log = bytearray()
    ends: list[ScriptEnd] = []
    first = piece(2, RELEASED_MARK) + piece(1, b"0123456789")
    with near, far:
        live = AttachedOutput(near, ends.append)
        far.sendall(first)
        eventually(lambda: live.received == len(first))
        far.sendall(piece(1, b"the end\n" + END_MARK_START + b"0 0\n"))
        far.shutdown(socket.SHUT_WR)
        eventually(lambda: not live.open)
        assert live.follow(log.extend, lambda: False) == (10, False)
    assert log == b"0123456789"
    assert not ends
