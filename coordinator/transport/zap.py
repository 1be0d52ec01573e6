"""Authenticates connections for ZeroMQ (ZAP, RFC 27), inside the coordinator's own loop.

Knows frames and keys, nothing of roles. As it runs in the loop and not in a thread, it needs no locks, and a key
revoked in one turn is refused in the next.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import zmq
from zmq.utils import z85

from coordinator.throttled_log import ThrottledLogger

log = logging.getLogger(__name__)

ENDPOINT = "inproc://zeromq.zap.01"
"""The endpoint that ZeroMQ queries, as defined by the RFC."""
VERSION = b"1.0"
MECHANISM = b"CURVE"
ROUTER_DOMAIN = b"longshore"
FEED_DOMAIN = b"longshore-feed"
TURN_QUESTIONS = 500
"""Maximum requests answered per turn: a storm of connections must not delay a turn."""

Decide = Callable[[bytes, str], bool]


class Authenticator:
    """The ZAP handler of a context; `may_connect(domain, key)` decides."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], may_connect: Decide) -> None:
        self.refused = 0
        self._may_connect = may_connect
        self._warnings = ThrottledLogger(log)
        self.socket = context.socket(zmq.ROUTER)
        self.socket.set(zmq.LINGER, 0)
        self.socket.set(zmq.SNDHWM, 0)
        self.socket.set(zmq.RCVHWM, 0)
        self.socket.bind(ENDPOINT)

    def close(self) -> None:
        """Closes the handler; new connections are refused from now on."""
        self.socket.close()

    def answer(self) -> None:
        """Answers pending requests, up to a turn's bound."""
        for _ in range(TURN_QUESTIONS):
            try:
                frames = self.socket.recv_multipart(zmq.DONTWAIT)
            except zmq.Again:
                return
            self._answer(frames)

    def _answer(self, frames: list[bytes]) -> None:
        route, _, _, request, domain, address, _, mechanism, *proof = frames
        key = z85.encode(proof[0]).decode() if mechanism == MECHANISM and len(proof) == 1 else ""
        if key and self._may_connect(domain, key):
            reply = [b"200", b"OK", key.encode(), b""]
        else:
            self.refused += 1
            self._warnings.say("refused a connection from %s: unknown key", address.decode(errors="replace"))
            reply = [b"400", b"unknown key", b"", b""]
        self.socket.send_multipart([route, b"", VERSION, request, *reply])
