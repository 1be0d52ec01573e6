"""A socket to a coordinator, and the watch over its handshake, for all of a coordinator's peers.

ZeroMQ retries a lost connection by itself, but never one whose key was refused: its owner must notice, and reopen it
with the credentials that exist by then.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import zmq

from protocol.addresses import parse_tcp
from protocol.errors import UsageError
from protocol.keys import Credentials, find_credentials, not_let_in
from protocol.liveness import notice_dead_hosts

HANDSHAKE_FAILURES = zmq.EVENT_HANDSHAKE_FAILED_AUTH | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
"""Events of a socket's monitor: the other side does not know our key, or requires one."""
EVENT_BYTES = 2

Socket = zmq.Socket[bytes]


def connect_socket(
    context: zmq.Context[Socket],
    kind: int,
    address: str,
    *,
    receive_limit: int = 1000,
    send_limit: int = 1000,
    immediate: bool = False,
    credentials: Credentials | None = None,
    monitored: int = 0,
) -> Socket:
    """A connected socket with the options common to all peers of a coordinator.

    `receive_limit` and `send_limit` bound the unread and unsent messages; `immediate`: queue none before the connection
    is established. `credentials` default to this user's for the address. `monitored` are events for the socket's
    monitor, which is attached before the first of them can occur.
    Raises UsageError for a bad address or unusable credentials.
    """
    if address.startswith("tcp://"):
        parse_tcp(address)
        credentials = credentials or find_credentials(address)
    socket = context.socket(kind)
    if credentials is not None and address.startswith("tcp://"):
        credentials.apply(socket)
    socket.set(zmq.LINGER, 0)
    socket.set(zmq.RECONNECT_IVL, 100)
    socket.set(zmq.RECONNECT_IVL_MAX, 2000)
    notice_dead_hosts(socket)
    socket.set(zmq.IPV6, 1)
    socket.set(zmq.RCVHWM, receive_limit)
    socket.set(zmq.SNDHWM, send_limit)
    socket.set(zmq.IMMEDIATE, immediate)
    if monitored:
        socket.get_monitor_socket(monitored)
    try:
        socket.connect(address)
    except zmq.ZMQError as error:
        if monitored:
            _end_monitor(socket, socket.get_monitor_socket())
        socket.close()
        raise UsageError(f"can't connect to {address!r}: {error}") from error
    return socket


class Dealer:
    """A DEALER socket to the coordinator at `address`, and its `monitor`; poll both.

    `credentials` are those it was opened with: the given ones, or this user's at the time. `also` are further events to
    monitor. Raises UsageError for a bad address or unusable credentials.
    """

    def __init__(
        self,
        context: zmq.Context[Socket],
        address: str,
        credentials: Credentials | None = None,
        *,
        also: int = 0,
        send_limit: int = 1000,
        immediate: bool = False,
    ) -> None:
        self.address = address
        self.credentials = credentials or find_credentials(address)
        self.socket = connect_socket(
            context,
            zmq.DEALER,
            address,
            send_limit=send_limit,
            immediate=immediate,
            credentials=self.credentials,
            monitored=HANDSHAKE_FAILURES | also,
        )
        self.monitor = self.socket.get_monitor_socket()

    def events(self) -> Iterator[int]:
        """The monitor's new events. (pyzmq's own reader imports asyncio.)"""
        while not self.monitor.closed and self.monitor.poll(0):
            yield int.from_bytes(self.monitor.recv_multipart()[0][:EVENT_BYTES], sys.byteorder)

    def refusal(self) -> str:
        """The message for the user after one of HANDSHAKE_FAILURES."""
        return not_let_in(self.address, self.credentials is not None)

    def close(self, linger: int = 0) -> None:
        """Closes the socket; unsent frames have `linger` milliseconds. Idempotent."""
        if not self.socket.closed:
            _end_monitor(self.socket, self.monitor)
            self.socket.close(linger)


def _end_monitor(socket: Socket, monitor: Socket) -> None:
    socket.disable_monitor()
    monitor.close(0)
