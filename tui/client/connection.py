"""The dashboard's sockets, on a dedicated thread: requests over DEALER, the feed over SUB. Holds no model state.

A *session* is a connection to one coordinator epoch: hello, welcome, feed. It ends when the feed falls silent (its
heartbeat is every second), when the epoch changes, or when the coordinator no longer knows us; a new session is then
attempted indefinitely. Events are passed to `deliver` in batches, on the connection's thread.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import zmq

from protocol import PROTOCOL_VERSION
from protocol import messages as m
from protocol.addresses import reachable_feed
from protocol.codec import decode_event, decode_for_client, each_event, encode
from protocol.dealer import Dealer, connect_socket
from protocol.errors import ProtocolError, UsageError
from protocol.events import STATE_TOPIC, AnyEvent, Beacon

HELLO_TIMEOUT = 2.0
"""Seconds to wait for a welcome before retrying with new sockets."""
REFUSED_PAUSE = 2.0
"""Seconds between two attempts of a user whom the coordinator rejects."""
SILENCE = 4.0
"""Seconds without a message from the feed after which the coordinator counts as gone; its heartbeat is every second."""
BATCH = 500
"""Frames read from a socket before their contents are delivered."""
FEED_BACKLOG = 20_000
"""Unread events in the SUB socket; more are dropped, and detected by their sequence numbers."""

Socket = zmq.Socket[bytes]


@dataclass(frozen=True, slots=True)
class Connected:
    """The coordinator has accepted us; the feed subscription is under way."""

    welcome: m.Welcome


@dataclass(frozen=True, slots=True)
class Lost:
    """The session has ended. Unanswered requests are resent in the next one."""

    why: str


@dataclass(frozen=True, slots=True)
class Answer:
    """The reply to a request."""

    message: m.Message
    payload: bytes | memoryview


@dataclass(frozen=True, slots=True)
class EventReceived:
    """One event of the feed."""

    event: AnyEvent
    payload: bytes | memoryview


@dataclass(frozen=True, slots=True)
class Refused:
    """The coordinator rejects this user; the attempt is repeated, because `longshore login` may provide a key."""

    why: str


ConnectionEvent = Connected | Lost | Answer | EventReceived | Refused


@dataclass(slots=True)
class _Session:
    dealer: Dealer
    feed: Socket
    welcome: m.Welcome
    heard_at: float
    over: str = ""  # the reason for its end; empty while it is open

    def close(self) -> None:
        self.dealer.close()
        self.feed.close()


class Connection:
    """Maintains a session with the coordinator at `address` until `stop`.

    `send`, `forget`, `subscribe` and `unsubscribe` must be called from a single thread; none of them blocks.
    """

    def __init__(self, address: str, deliver: Callable[[list[ConnectionEvent]], None]) -> None:
        self.address = address
        self._deliver = deliver
        self._context: zmq.Context[Socket] = zmq.Context.instance()
        self._commands: deque[Callable[[_Session | None], None]] = deque()
        self._topics: set[bytes] = {STATE_TOPIC}
        self._unanswered: dict[int, list[bytes | memoryview]] = {}
        self._stopping = threading.Event()
        self._wake_address = f"inproc://longshore-tui-{id(self):x}"
        self._waker = self._context.socket(zmq.PAIR)
        self._thread = threading.Thread(target=self._run, name="longshore-link", daemon=True)

    # called on the caller's thread

    def start(self) -> None:
        """Starts connecting."""
        self._waker.bind(self._wake_address)
        self._thread.start()

    def stop(self) -> None:
        """Stops the thread, closes all sockets, and waits for both."""
        self._stopping.set()
        self._wake()
        self._thread.join(timeout=5)
        self._waker.close(linger=0)

    def send(self, request_id: int, message: m.Message, payload: bytes | None = None) -> None:
        """Sends a request once there is a session, and again in each new session until it is answered."""
        frames = encode(message, payload)

        def command(session: _Session | None) -> None:
            self._unanswered[request_id] = frames
            if session is not None:
                session.dealer.socket.send_multipart(frames, zmq.NOBLOCK)

        self._command(command)

    def forget(self, request_id: int) -> None:
        """Discards the future answer to a request."""

        def command(_session: _Session | None) -> None:
            self._unanswered.pop(request_id, None)

        self._command(command)

    def subscribe(self, topic: bytes) -> None:
        """Subscribes to a topic of the feed, in this session and all later ones."""

        def command(session: _Session | None) -> None:
            self._topics.add(topic)
            if session is not None:
                session.feed.setsockopt(zmq.SUBSCRIBE, topic)

        self._command(command)

    def unsubscribe(self, topic: bytes) -> None:
        """Unsubscribes from a topic."""

        def command(session: _Session | None) -> None:
            if topic in self._topics:
                self._topics.discard(topic)
                if session is not None:
                    session.feed.setsockopt(zmq.UNSUBSCRIBE, topic)

        self._command(command)

    def _command(self, command: Callable[[_Session | None], None]) -> None:
        self._commands.append(command)
        self._wake()

    def _wake(self) -> None:
        with contextlib.suppress(zmq.ZMQError):
            self._waker.send(b"", zmq.NOBLOCK)

    # called on the connection's thread

    def _run(self) -> None:
        wake = self._context.socket(zmq.PAIR)
        wake.connect(self._wake_address)
        try:
            while not self._stopping.is_set():
                session = self._join(wake)
                if session is None:
                    continue
                try:
                    self._deliver([Connected(session.welcome)])
                    self._serve(session, wake)
                finally:
                    session.close()
                if session.over:
                    self._deliver([Lost(session.over)])
        finally:
            wake.close(linger=0)

    def _join(self, wake: Socket) -> _Session | None:
        """Says hello; returns the session, or None on timeout or rejection."""
        try:
            dealer = Dealer(self._context, self.address)
        except UsageError as error:
            self._wait_refused(str(error), wake)
            return None
        welcome: m.Welcome | None = None
        refused = False
        try:
            dealer.socket.send_multipart(encode(m.ClientHello(id=0, protocol=PROTOCOL_VERSION, name="dashboard")))
            deadline = time.monotonic() + HELLO_TIMEOUT
            while welcome is None and not refused and not self._stopping.is_set():
                left = deadline - time.monotonic()
                if left <= 0:
                    break
                ready = _poll((dealer.socket, wake, dealer.monitor), left)
                if wake in ready:
                    self._obey(wake, None)
                if dealer.socket in ready:
                    welcome = _welcome_in(dealer.socket)
                refused = dealer.monitor in ready
        finally:
            if welcome is None:
                dealer.close()
        if refused:
            self._wait_refused(dealer.refusal(), wake)
        return self._begin(dealer, welcome) if welcome is not None else None

    def _wait_refused(self, why: str, wake: Socket) -> None:
        """Reports the rejection, and pauses."""
        self._deliver([Refused(why)])
        deadline = time.monotonic() + REFUSED_PAUSE
        while (left := deadline - time.monotonic()) > 0 and not self._stopping.is_set():
            if _poll((wake,), left):
                self._obey(wake, None)

    def _begin(self, dealer: Dealer, welcome: m.Welcome) -> _Session:
        address = reachable_feed(self.address, welcome.feed)
        feed = connect_socket(
            self._context, zmq.SUB, address, receive_limit=FEED_BACKLOG, credentials=dealer.credentials
        )
        for topic in self._topics:
            feed.setsockopt(zmq.SUBSCRIBE, topic)
        for frames in self._unanswered.values():
            dealer.socket.send_multipart(frames)
        return _Session(dealer=dealer, feed=feed, welcome=welcome, heard_at=time.monotonic())

    def _serve(self, session: _Session, wake: Socket) -> None:
        """Forwards all messages until the session ends or the connection is stopped."""
        while not session.over and not self._stopping.is_set():
            ready = _poll((session.dealer.socket, session.feed, wake), 0.5)
            if wake in ready:
                self._obey(wake, session)
            items: list[ConnectionEvent] = []
            if session.dealer.socket in ready:
                self._take_answers(session, items)
            if session.feed in ready:
                self._take_events(session, items)
            if items:
                self._deliver(items)
            if time.monotonic() - session.heard_at > SILENCE:
                session.over = f"no heartbeat from {self.address}"

    def _obey(self, wake: Socket, session: _Session | None) -> None:
        while wake.poll(0):
            wake.recv()
        while self._commands:
            self._commands.popleft()(session)

    def _take_answers(self, session: _Session, items: list[ConnectionEvent]) -> None:
        for frames in _drain(session.dealer.socket):
            try:
                message, payload = decode_for_client(frames)
            except ProtocolError:
                continue
            if isinstance(message, m.Error) and message.code == "not_introduced":
                session.over = "the coordinator no longer knows this client"
                return
            request_id = getattr(message, "id", None)
            if request_id is not None and self._unanswered.pop(request_id, None) is not None:
                items.append(Answer(message, payload))

    def _take_events(self, session: _Session, items: list[ConnectionEvent]) -> None:
        session.heard_at = time.monotonic()
        for _, *frames in _drain(session.feed):
            try:
                events = [decode_event(one) for one in each_event(frames)]
            except ProtocolError:
                continue
            for event, payload in events:
                if isinstance(event, Beacon) and event.epoch != session.welcome.epoch:
                    session.over = "the coordinator has restarted"
                    return
                items.append(EventReceived(event, payload))


def _welcome_in(dealer: Socket) -> m.Welcome | None:
    """The welcome, if that is the message received."""
    with contextlib.suppress(ProtocolError):
        message, _ = decode_for_client(dealer.recv_multipart())
        if isinstance(message, m.Welcome):
            return message
    return None


def _poll(sockets: tuple[Socket, ...], timeout: float) -> set[Socket]:
    poller = zmq.Poller()
    for socket in sockets:
        poller.register(socket, zmq.POLLIN)
    return {socket for socket, _ in poller.poll(int(timeout * 1000) + 1)}


def _drain(socket: Socket) -> list[list[bytes]]:
    """The frames waiting in a socket, at most one batch."""
    found: list[list[bytes]] = []
    with contextlib.suppress(zmq.Again):
        while len(found) < BATCH:
            found.append(socket.recv_multipart(zmq.NOBLOCK))
    return found
