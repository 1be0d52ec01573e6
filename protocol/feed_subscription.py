"""A subscription to a coordinator's feed, for one thread that reads it."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence

import zmq

from protocol.codec import decode_event, each_event
from protocol.dealer import connect_socket
from protocol.events import AnyEvent
from protocol.keys import Credentials

FEED_BACKLOG = 100_000
"""Events queued for a slow reader before some are lost, which it detects by their numbers."""


class Feed:
    """A subscription to a coordinator's feed; see protocol/events.py for gaps and epochs."""

    def __init__(
        self, context: zmq.Context[zmq.Socket[bytes]], address: str, credentials: Credentials | None = None
    ) -> None:
        self.address = address
        self._socket = connect_socket(context, zmq.SUB, address, receive_limit=FEED_BACKLOG, credentials=credentials)
        self._received: deque[Sequence[bytes | memoryview]] = deque()  # remaining events of a received frame

    def subscribe(self, topic: bytes) -> None:
        """Adds a topic: STATE_TOPIC or `log_topic(attempt)`."""
        self._socket.setsockopt(zmq.SUBSCRIBE, topic)

    def unsubscribe(self, topic: bytes) -> None:
        """Removes a topic."""
        self._socket.setsockopt(zmq.UNSUBSCRIBE, topic)

    def receive(self, timeout: float) -> tuple[AnyEvent, bytes | memoryview] | None:
        """The next event and its payload, or None after `timeout` seconds without one."""
        if not self._received:
            if not self._socket.poll(math.ceil(timeout * 1000)):
                return None
            _, *frames = self._socket.recv_multipart()
            self._received.extend(each_event(frames))
        return decode_event(self._received.popleft())

    def close(self) -> None:
        """Ends the subscription."""
        self._socket.close()
