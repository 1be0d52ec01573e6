"""Limits of connections: who makes room, and whose time is over. A real server in this process."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from web.connections import ConnectionLimits, Connections

REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def hello(_request: web.Request) -> web.Response:
    return web.Response(text="hello")


@asynccontextmanager
async def serving(limits: ConnectionLimits) -> AsyncIterator[tuple[Connections, int]]:
    """A server with these limits, and its port."""
    app = web.Application()
    runner = web.AppRunner(app)

    def handler() -> asyncio.Protocol:
        assert runner.server is not None
        return runner.server()

    connections = Connections(limits, handler, None)
    app.middlewares.append(connections.middleware)
    app.router.add_get("/", hello)
    await runner.setup()
    server = await asyncio.get_running_loop().create_server(connections, "127.0.0.1", 0)
    watch = asyncio.create_task(connections.watch())
    try:
        yield connections, server.sockets[0].getsockname()[1]
    finally:
        watch.cancel()
        server.close()
        await runner.cleanup()


async def ask(stream: Stream, request: bytes = REQUEST) -> None:
    """Sends a whole request and reads its answer."""
    stream[1].write(request)
    assert (await stream[0].readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
    assert await stream[0].readexactly(5) == b"hello"


async def ended(stream: Stream) -> None:
    """Waits until the server has closed a connection."""
    with contextlib.suppress(ConnectionError):
        assert await stream[0].read(1) == b""


async def test_at_a_limit_a_resting_connection_makes_room_then_the_longest_awaited_one() -> None:
    limits = ConnectionLimits(total=3, per_address=2, request_seconds=300)
    async with asyncio.timeout(60), serving(limits) as (connections, port):
        resting, half = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
        await ask(resting)
        half[1].write(REQUEST[:9])
        third = await asyncio.open_connection("127.0.0.1", port)
        await ended(resting)
        fourth = await asyncio.open_connection("127.0.0.1", port)
        await ended(half)
        await ask(fourth)
        await ask(third)
        assert connections.count == 2
        other = await asyncio.open_connection("127.0.0.1", port, local_addr=("127.0.0.2", 0))
        await ask(other)
        assert connections.count == 3, "another address has room of its own"
        last = await asyncio.open_connection("127.0.0.1", port, local_addr=("127.0.0.3", 0))
        await ask(last)
        assert connections.count == 3, "up to the limit of all"


async def test_half_a_request_is_waited_for_shortly_and_the_next_one_for_long() -> None:
    limits = ConnectionLimits(request_seconds=0.2, rest_seconds=300)
    async with asyncio.timeout(60), serving(limits) as (connections, port):
        kept, half, silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
        await ask(kept)
        half[1].write(REQUEST[:9])
        await ended(half)
        await ended(silent)
        await ask(kept)
        kept[1].write(REQUEST[:9])
        await ended(kept)
        assert connections.count == 0
