"""The coordinator's publisher: numbered state events, log bytes by topic, a beacon every second.

A subscriber that is too slow loses events, and detects it by their numbers; it never delays anyone.
"""

from __future__ import annotations

import time
from collections import Counter
from uuid import uuid4

import msgspec
import zmq

from coordinator.transport.sockets import HANDSHAKE_MS, bind_socket, serve_curve
from coordinator.transport.zap import FEED_DOMAIN
from protocol.codec import encode
from protocol.errors import UsageError
from protocol.events import STATE_TOPIC, Beacon, Event, Events, LogAppended, log_topic
from protocol.keys import KeyPair
from protocol.liveness import notice_dead_hosts
from protocol.log_times import LogPiece, within
from protocol.log_times import encode as encode_times

BACKLOG = 5000
"""Events queued for a slow subscriber before it loses some."""
LOG_PIECE = 32 << 10
"""Largest payload of a log event: bounds the memory that a suspended subscriber ties up."""
FRAME_BYTES = 4 << 10
"""Maximum size of the events in one frame, unless a single one is larger; for the same reason."""
BEACON_EVERY = 1.0
"""Seconds between beacons."""
LONGEST_TOPIC = 1024
"""Maximum bytes of a subscriber's message, which only contains a topic."""
MOST_TOPICS = 1000
"""Maximum concurrent topics of one key. A dashboard has one for each log that it shows."""
TURN_TOPICS = 10_000
"""Maximum subscriptions processed per turn."""
REOPEN_SECONDS = 2.0
REOPEN_PAUSE = 0.002
"""Retries of binding again: a closed socket releases its port a moment later."""


class Publisher:
    """The feed's socket. Binds on construction, to `address`. Raises UsageError if it can't."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], bind: str, keys: KeyPair | None = None) -> None:
        self.epoch = uuid4().hex
        self.seq = 0
        self.next_beacon = 0.0  # monotonic
        self._context = context
        self._keys = keys
        self._open(bind)

    def _open(self, bind: str) -> None:
        self._topics: dict[bytes, str] = {}  # with the key that subscribed first
        self._asked: Counter[str] = Counter()  # number of topics by key
        self.socket = self._context.socket(zmq.XPUB)
        self.socket.set(zmq.LINGER, 0)
        self.socket.set(zmq.SNDHWM, BACKLOG)
        self.socket.set(zmq.MAXMSGSIZE, LONGEST_TOPIC)
        self.socket.set(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)
        notice_dead_hosts(self.socket)
        if self._keys:
            serve_curve(self.socket, self._keys, FEED_DOMAIN)
        self.address = bind_socket(self.socket, bind)

    def reopen(self) -> None:
        """Disconnects all subscribers, as ZeroMQ can't disconnect one. Those still allowed reconnect by themselves at
        once, detect missed events by their numbers, and recover. Raises UsageError if the address was taken meanwhile.
        """
        self.socket.close()
        deadline = time.monotonic() + REOPEN_SECONDS
        while True:
            try:
                return self._open(self.address)
            except UsageError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(REOPEN_PAUSE)

    def close(self) -> None:
        """Closes the feed."""
        self.socket.close()

    def receive_subscriptions(self) -> set[str]:
        """Processes subscriptions. Only the first one to a topic and the end of the last one arrive.

        Returns the keys with too many topics: ZeroMQ keeps all topics in memory, and can't refuse one.
        """
        greedy = set()
        for _ in range(TURN_TOPICS):
            try:
                message = self.socket.recv(zmq.DONTWAIT, copy=False)
            except zmq.Again:
                break
            asks, topic = message.bytes[:1] == b"\1", message.bytes[1:]
            if asks and topic not in self._topics:
                key = str(message.get("User-Id")) if self._keys else ""
                self._topics[topic] = key
                self._asked[key] += 1
                if key and self._asked[key] > MOST_TOPICS:
                    greedy.add(key)
            elif not asks and topic in self._topics:
                self._asked[self._topics.pop(topic)] -= 1
        return greedy

    def publish(self, *events: Event) -> None:
        """Publishes state events, numbered consecutively, in as few frames as possible."""
        together: list[bytes] = []
        size = 0
        for event in events:
            self.seq += 1
            packed = msgspec.msgpack.encode(msgspec.structs.replace(event, epoch=self.epoch, seq=self.seq))
            if together and size + len(packed) > FRAME_BYTES:
                self._send_together(together)
                together, size = [], 0
            together.append(packed)
            size += len(packed)
        if together:
            self._send_together(together)

    def _send_together(self, packed: list[bytes]) -> None:
        frame = packed[0]
        if len(packed) > 1:
            frame = msgspec.msgpack.encode(Events(events=[msgspec.Raw(one) for one in packed]))
        self.socket.send_multipart([STATE_TOPIC, frame], zmq.DONTWAIT)

    def publish_log(self, attempt: str, stream: str, piece: LogPiece) -> None:
        """Publishes stored log bytes, if anyone watches this log."""
        if self.is_watched(attempt):
            topic = log_topic(attempt)
            whole = memoryview(piece.data)
            for start in range(0, len(whole), LOG_PIECE):
                offset = piece.offset + start
                times = encode_times(within(piece.marks, offset, offset + LOG_PIECE), offset)
                event = LogAppended(attempt=attempt, stream=stream, offset=offset, times=times)
                self._send(topic, event, whole[start : start + LOG_PIECE])

    def publish_log_end(self, attempt: str, stream: str, size: int) -> None:
        """Publishes that the log is complete at `size` bytes."""
        if self.is_watched(attempt):
            event = LogAppended(attempt=attempt, stream=stream, offset=size, complete=True)
            self._send(log_topic(attempt), event, b"")

    def beat(self, now: float, wall: float = 0.0) -> None:
        """Sends a beacon if one is due at the monotonic time `now`; `wall` is the wall clock's."""
        if now >= self.next_beacon:
            self.next_beacon = now + BEACON_EVERY
            self._send(STATE_TOPIC, Beacon(at=wall))

    def is_watched(self, attempt: str) -> bool:
        """Whether anyone is subscribed to an attempt's log."""
        topic = log_topic(attempt)
        return any(topic[:end] in self._topics for end in range(len(topic) + 1))

    def _send(self, topic: bytes, event: Event, payload: bytes | memoryview | None = None) -> None:
        stamped = msgspec.structs.replace(event, epoch=self.epoch, seq=self.seq)
        self.socket.send_multipart([topic, *encode(stamped, payload)], zmq.DONTWAIT)
