"""The coordinator's ROUTER socket: identifies peers, and queues messages for slow ones within bounds.

Knows frames, introductions and back-pressure, but not the meaning of messages. Never blocks. A connection is identified
by its *route*: the public key that ZeroMQ authenticated, and the routing id. A peer can choose its routing id, but not
its key, so no peer can use another's route.
"""

from __future__ import annotations

import errno
import logging
from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator

import msgspec
import zmq

from coordinator.transport.sockets import HANDSHAKE_MS, bind_socket, serve_curve
from coordinator.transport.zap import ROUTER_DOMAIN
from protocol import messages as m
from protocol.codec import MAX_FRAMES, MAX_MAP_BYTES, encode, encode_together
from protocol.keys import KEY_CHARACTERS, KeyPair
from protocol.liveness import notice_dead_hosts

log = logging.getLogger(__name__)

TURN_MESSAGES = 1000
TURN_BYTES = 32 << 20
"""Maximum received from the socket per turn: bounds a turn's memory, and the delay of its acknowledgements."""
SEND_BACKLOG = 100
RECEIVE_BACKLOG = 200
"""Messages per peer queued in the socket itself; each may be as large as a piece of a blob."""
QUEUE_BYTES = 64 << 20
QUEUE_MESSAGES = 50_000
"""Maximum queued here for one peer. A peer that exceeds it is forgotten and must introduce itself again."""
REMEMBERED = 10_000
"""Maximum superseded connections, and clients, that are remembered; the oldest are evicted."""

CUT_OFF_BYTES = 4 * MAX_MAP_BYTES
"""A larger frame closes its sender's connection; between this and the codec's bounds the sender gets an error."""

Frames = list[bytes | memoryview]


class Peer(msgspec.Struct, eq=False):
    """The peer on one connection. `worker` is its name, None for a client."""

    route: bytes
    worker: str | None = None
    queue: deque[Frames] = msgspec.field(default_factory=deque)
    queued_bytes: int = 0
    last_answer: m.Done | None = None  # to a client's newest command, in case it is resent


class Router:
    """The ROUTER socket with its peers. Binds on construction, to `address`. Raises UsageError if it can't."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], bind: str, keys: KeyPair | None = None) -> None:
        self._key_bytes = KEY_CHARACTERS if keys else 0
        self._workers: dict[str, Peer] = {}
        self._clients: OrderedDict[bytes, Peer] = OrderedDict()
        self._peers: dict[bytes, Peer] = {}
        self._superseded: OrderedDict[bytes, str] = OrderedDict()
        self._slow: dict[bytes, Peer] = {}
        self.socket = context.socket(zmq.ROUTER)
        self.socket.set(zmq.LINGER, 0)
        self.socket.set(zmq.ROUTER_MANDATORY, 1)
        if keys:
            serve_curve(self.socket, keys, ROUTER_DOMAIN)
        self.socket.set(zmq.MAXMSGSIZE, CUT_OFF_BYTES)
        self.socket.set(zmq.SNDHWM, SEND_BACKLOG)
        self.socket.set(zmq.RCVHWM, RECEIVE_BACKLOG)
        self.socket.set(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)
        notice_dead_hosts(self.socket)
        self.address = bind_socket(self.socket, bind)

    def close(self) -> None:
        """Closes all connections."""
        self.socket.close()

    # peers

    def peer(self, route: bytes) -> Peer | None:
        """The peer that has introduced itself on this connection, if any."""
        return self._peers.get(route)

    def superseded(self, route: bytes) -> str | None:
        """The name of the worker on this connection, if a newer connection has taken it over."""
        return self._superseded.get(route)

    def worker(self, name: str) -> Peer | None:
        """The connection of a worker, if it has introduced itself."""
        return self._workers.get(name)

    def introduce_worker(self, route: bytes, name: str) -> Peer:
        """Registers a worker's connection, which supersedes earlier ones of the same name."""
        before = self._workers.get(name)
        if before is not None and before.route != route:
            self.forget(before)
            self._superseded[before.route] = name
            if len(self._superseded) > REMEMBERED:
                self._superseded.popitem(last=False)
        self._superseded.pop(route, None)
        peer = self._replace(route, name)
        self._workers[name] = peer
        return peer

    def introduce_client(self, route: bytes) -> Peer:
        """Registers a client's connection."""
        peer = self._replace(route, None)
        self._clients[route] = peer
        if len(self._clients) > REMEMBERED:
            self.forget(next(iter(self._clients.values())))
        return peer

    def _replace(self, route: bytes, worker: str | None) -> Peer:
        if before := self._peers.get(route):
            self.forget(before)
        peer = self._peers[route] = Peer(route, worker)
        return peer

    def forget(self, peer: Peer) -> None:
        """Drops a peer and its queue; it must introduce itself again."""
        self._peers.pop(peer.route, None)
        self._clients.pop(peer.route, None)
        self._slow.pop(peer.route, None)
        if peer.worker is not None and self._workers.get(peer.worker) is peer:
            del self._workers[peer.worker]

    # frames

    def receive(self) -> Iterator[tuple[bytes, list[bytes]]]:
        """Received messages as route and frames, up to a turn's bound."""
        total = 0
        for _ in range(TURN_MESSAGES):
            try:
                route, frames = self._receive_with_key() if self._key_bytes else self._receive()
            except zmq.Again:
                return
            yield route, frames
            total += sum(map(len, frames))
            if total > TURN_BYTES:
                return

    def _receive(self) -> tuple[bytes, list[bytes]]:
        route, *frames = self.socket.recv_multipart(zmq.DONTWAIT)
        return route, frames

    def _receive_with_key(self) -> tuple[bytes, list[bytes]]:
        first = self.socket.recv(zmq.DONTWAIT, copy=False)
        route = str(first.get("User-Id")).encode() + first.bytes
        frames: list[bytes] = []
        while self.socket.get(zmq.RCVMORE):
            frame = self.socket.recv()
            if len(frames) <= MAX_FRAMES:  # keep one too many, so that the codec reports it
                frames.append(frame)
        return route, frames

    def key_of(self, route: bytes) -> bytes | None:
        """The public key of a connection; None without encryption."""
        return route[: self._key_bytes] if self._key_bytes else None

    def forget_key(self, key: bytes) -> None:
        """Drops all peers with a key, after notifying them."""
        for peer in [peer for route, peer in self._peers.items() if route.startswith(key)]:
            self.send(peer.route, m.Error(code="revoked", message="your key was revoked"))
            self.forget(peer)

    def send_to_worker(self, name: str, messages: Iterable[m.Message]) -> None:
        """Sends to a worker, in as few frames as possible; dropped if it is not connected, as its next hello reconciles
        the state.
        """
        if peer := self._workers.get(name):
            for frames in encode_together(messages):
                self._send(peer.route, frames)

    def send(self, route: bytes, message: m.Message, payload: bytes | memoryview | None = None) -> None:
        """Sends a message, or queues it behind earlier ones; dropped if the peer is gone."""
        self._send(route, encode(message, payload))

    def _send(self, route: bytes, encoded: Frames) -> None:
        frames = [route[self._key_bytes :], *encoded]
        peer = self._peers.get(route)
        waits = peer is not None and peer.queue
        if (waits or not self._transmit(route, frames)) and peer is not None:
            self._enqueue(peer, frames)

    def _enqueue(self, peer: Peer, frames: Frames) -> None:
        peer.queue.append(frames)
        peer.queued_bytes += sum(map(len, frames))
        self._slow[peer.route] = peer
        if peer.queued_bytes > QUEUE_BYTES or len(peer.queue) > QUEUE_MESSAGES:
            log.warning(
                "%s reads too slowly; dropping its connection", peer.worker or "a client", extra={"worker": peer.worker}
            )
            self.forget(peer)

    def flush(self) -> bool:
        """Sends queued messages to slow peers. Returns whether any remain."""
        for peer in list(self._slow.values()):
            while peer.queue and self._transmit(peer.route, peer.queue[0]):
                if peer.queue:  # `_transmit` empties it if the peer is gone
                    peer.queued_bytes -= sum(map(len, peer.queue.popleft()))
            if not peer.queue:
                self._slow.pop(peer.route, None)
        return bool(self._slow)

    def _transmit(self, route: bytes, frames: Frames) -> bool:
        """Whether the frames are done with: sent, or dropped because the peer is gone."""
        try:
            self.socket.send_multipart(frames, zmq.DONTWAIT)
        except zmq.Again:
            return False
        except zmq.ZMQError as error:
            if error.errno != errno.EHOSTUNREACH:
                raise
            if peer := self._peers.get(route):
                peer.queue.clear()
                self.forget(peer)
            return True
        return True
