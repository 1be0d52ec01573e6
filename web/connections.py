"""Bounds what strangers can hold of the server: connections in all and per address, and the time to say something.

Each TCP connection is counted from its first moment, before its TLS handshake. When a limit is reached, the connection
that has been without a complete request for longest makes room, so that senders of half a request lock nobody out.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import OrderedDict
from collections.abc import Awaitable, Callable

import msgspec
from aiohttp import web

HandlerFactory = Callable[[], asyncio.Protocol]


class ConnectionLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of connections. `per_address` is None behind a proxy, from which all connections come.

    `request_seconds` is the time for a TLS handshake and the head of a request, also of a later one.
    """

    total: int = 2000
    per_address: int | None = 500
    request_seconds: float = 5.0


class Connections:
    """All open connections. Belongs to the event loop's thread."""

    def __init__(self, limits: ConnectionLimits, handler: HandlerFactory, tls: ssl.SSLContext | None) -> None:
        self.limits = limits
        self._handler = handler
        self._tls = tls
        self._open: dict[str, set[Connection]] = {}
        self._count = 0
        self._idle: OrderedDict[Connection, None] = OrderedDict()  # without a complete request, the longest first
        self._by_handler: dict[asyncio.BaseProtocol, Connection] = {}

    def __call__(self) -> Connection:
        """The protocol of a new connection, for `loop.create_server`."""
        return Connection(self, self._handler(), self._tls)

    @property
    def count(self) -> int:
        """The number of open connections."""
        return self._count

    def admit(self, connection: Connection) -> bool:
        """Counts a new connection; False if there is no room, and nobody to make some."""
        of_address = self._open.setdefault(connection.address, set())
        limit = self.limits.per_address
        full = self._count >= self.limits.total
        if limit is not None and len(of_address) >= limit:
            longest = next((idle for idle in self._idle if idle in of_address), None)
        else:
            longest = next(iter(self._idle), None) if full else connection
        if longest is None:
            return False
        if longest is not connection:
            longest.drop()
        self._open.setdefault(connection.address, of_address).add(connection)
        self._count += 1
        self._by_handler[connection.handler] = connection
        self._idle[connection] = None
        return True

    def forget(self, connection: Connection) -> None:
        """Uncounts a connection. Idempotent."""
        of_address = self._open.get(connection.address, set())
        if connection in of_address:
            of_address.remove(connection)
            self._count -= 1
            if not of_address:
                del self._open[connection.address]
        self._idle.pop(connection, None)
        self._by_handler.pop(connection.handler, None)

    def expire(self) -> float:
        """Drops connections whose time for a request is over; seconds until this is due again."""
        now = asyncio.get_running_loop().time()
        while self._idle:
            longest = next(iter(self._idle))
            left = longest.idle_since + self.limits.request_seconds - now
            if left > 0:
                return left
            longest.drop()
        return self.limits.request_seconds

    async def watch(self) -> None:
        """Expires connections until cancelled."""
        while True:
            await asyncio.sleep(self.expire())

    @web.middleware
    async def middleware(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Stops the clock of a request's connection while the request is handled."""
        connection = self._by_handler.get(request.protocol)
        if connection is None:
            return await handler(request)
        self._idle.pop(connection, None)
        try:
            return await handler(request)
        finally:
            if connection.handler in self._by_handler:
                connection.idle_since = asyncio.get_running_loop().time()
                self._idle[connection] = None


class Connection(asyncio.Protocol):
    """One TCP connection: counted, then passed to an HTTP handler, through TLS if the server has it."""

    def __init__(self, connections: Connections, handler: asyncio.Protocol, tls: ssl.SSLContext | None) -> None:
        self.handler = handler
        self.address = ""
        self.idle_since = 0.0
        self._connections = connections
        self._tls = tls
        self._socket: asyncio.Transport | None = None
        self._handshake: asyncio.Task[None] | None = None
        self._early: list[bytes] = []  # data that TLS delivers before its handshake is reported
        self._handling = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Admits the connection, or drops it."""
        assert isinstance(transport, asyncio.Transport)
        loop = asyncio.get_running_loop()
        self._socket = transport
        peer = transport.get_extra_info("peername")
        self.address = str(peer[0]) if peer else ""
        self.idle_since = loop.time()
        if not self._connections.admit(self):
            transport.abort()
        elif self._tls is None:
            self._handling = True
            self.handler.connection_made(transport)
        else:
            transport.pause_reading()
            self._handshake = loop.create_task(self._shake_hands(loop, transport, self._tls))

    async def _shake_hands(
        self, loop: asyncio.AbstractEventLoop, transport: asyncio.Transport, tls: ssl.SSLContext
    ) -> None:
        seconds = self._connections.limits.request_seconds
        try:
            secure = await loop.start_tls(transport, self, tls, server_side=True, ssl_handshake_timeout=seconds)
        except (OSError, ssl.SSLError):  # the other side's affair; asyncio has closed the socket
            self._connections.forget(self)
            return
        if secure is None:  # the connection was lost meanwhile
            self._connections.forget(self)
            return
        self._handling = True
        self.handler.connection_made(secure)
        for data in self._early:
            self.handler.data_received(data)
        self._early.clear()

    def drop(self) -> None:
        """Closes the connection at once."""
        self._connections.forget(self)
        if self._socket is not None:
            self._socket.abort()

    def data_received(self, data: bytes) -> None:
        """Passes data on."""
        if self._handling:
            self.handler.data_received(data)
        else:
            self._early.append(data)

    def eof_received(self) -> bool | None:
        """The other side sends nothing more."""
        return self.handler.eof_received() if self._handling else None

    def pause_writing(self) -> None:
        """The other side reads too slowly."""
        self.handler.pause_writing()

    def resume_writing(self) -> None:
        """The other side reads again."""
        self.handler.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Uncounts the connection."""
        self._connections.forget(self)
        if self._handling:
            self._handling = False
            self.handler.connection_lost(exc)
