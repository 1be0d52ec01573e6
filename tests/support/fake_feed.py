"""A coordinator that can do what a real one should not: lose events, go silent, forget its clients, answer late."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

import msgspec
import zmq

from protocol import PROTOCOL_VERSION
from protocol import messages as m
from protocol.codec import decode_for_coordinator, encode
from protocol.events import STATE_TOPIC, AnyEvent, Beacon
from tests.support.eventually import DEADLINE


class FakeFeed:
    """Real sockets over TCP; what is said on them is the test's. Methods may be called from the test's thread."""

    def __init__(self) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context.instance()
        self.router = self._context.socket(zmq.ROUTER)
        self.router.setsockopt(zmq.LINGER, 0)
        self.router.bind("tcp://127.0.0.1:0")
        self.address = self.router.get_string(zmq.LAST_ENDPOINT)
        self.feed = self._context.socket(zmq.XPUB)
        self.feed.setsockopt(zmq.LINGER, 0)
        self.feed.bind("tcp://127.0.0.1:0")
        self.feed_address = self.feed.get_string(zmq.LAST_ENDPOINT)
        self.epoch = "a"
        self.seq = 0
        self.beats = True  # whether it sends beacons
        self.silent = False  # whether it leaves requests without an answer
        self.forgets = False  # whether it says that it does not know its clients, until they say hello again
        self.hellos = 0
        self.snapshots = 0
        self.subscriptions: set[bytes] = set()
        self.answer: Callable[[m.Message], tuple[m.Message, bytes | None] | None] = lambda _request: None
        self._jobs: deque[Callable[[], object]] = deque()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ends it."""
        self._stopping.set()
        self._thread.join(DEADLINE)

    def publish(self, event: AnyEvent, payload: bytes | None = None, *, topic: bytes = STATE_TOPIC) -> None:
        """Announces an event under the next number."""
        self.seq += 1
        stamped = msgspec.structs.replace(event, epoch=self.epoch, seq=self.seq)
        self._jobs.append(lambda: self.feed.send_multipart([topic, *encode(stamped, payload)]))

    def lose(self) -> None:
        """Uses up a number without telling anyone."""
        self.seq += 1

    def restart(self) -> None:
        """A new life with a new epoch."""
        self.epoch, self.seq = self.epoch + "'", 0
        self.forgets = True

    def _run(self) -> None:
        poller = zmq.Poller()
        poller.register(self.router, zmq.POLLIN)
        poller.register(self.feed, zmq.POLLIN)
        beats = 0
        while not self._stopping.is_set():
            ready = dict(poller.poll(5))
            if self.feed in ready:
                message = self.feed.recv()
                (self.subscriptions.add if message[:1] == b"\1" else self.subscriptions.discard)(message[1:])
            if self.router in ready:
                route, *frames = self.router.recv_multipart()
                self._take(route, decode_for_coordinator(frames)[0])
            while self._jobs:
                self._jobs.popleft()()
            beats += 1
            if self.beats and beats % 10 == 0:
                self.feed.send_multipart([STATE_TOPIC, *encode(Beacon(epoch=self.epoch, seq=self.seq))])
        self.router.close()
        self.feed.close()

    def _take(self, route: bytes, request: m.Message) -> None:
        if isinstance(request, m.ClientHello):
            self.hellos += 1
            self.forgets = False
            welcome = m.Welcome(protocol=PROTOCOL_VERSION, coordinator="c", epoch=self.epoch, feed=self.feed_address)
            self.router.send_multipart([route, *encode(welcome)])
        elif self.forgets:
            error = m.Error(id=getattr(request, "id", None), code="not_introduced", message="who are you?")
            self.router.send_multipart([route, *encode(error)])
        elif not self.silent:
            self.snapshots += isinstance(request, m.GetSnapshot)
            if (answer := self.answer(request)) is not None:
                self.router.send_multipart([route, *encode(*answer)])
