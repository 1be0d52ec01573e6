"""What a container writes, as long as the engine passes it on."""

from __future__ import annotations

import socket

import pytest

from daemon.executors.common.script import RELEASED_MARK
from daemon.executors.docker.logs.attached import AttachedOutput


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
