"""The HTTP server: its routes, TLS, limits, start and end. One event loop, in a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
from aiohttp import web

from protocol.addresses import DEFAULT_WEB, TcpAddress, parse_tcp
from protocol.errors import LongshoreError, UsageError
from protocol.keys import Credentials
from protocol.places import pushes_directory, state_directory
from web.connections import ConnectionLimits, Connections
from web.git.server import ROUTE, GitServer
from web.projects import Projects
from web.upstream import Upstream
from web.webhooks import Webhooks

log = logging.getLogger(__name__)

BACKLOG = 512
"""Connections that the kernel accepts ahead of the server."""
LINGER_SECONDS = 0.3
"""Time for which the rest of a refused body is read, so that its sender sees the answer."""
GRACE_SECONDS = 5.0
"""Time for running requests at the end."""
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
PROJECT = r"{project:[^?#]{1,255}}"


class WebSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where the server listens and for which coordinator. `tls` are the files of a certificate and of its key.

    `credentials` default to this user's own for the coordinator. `state` has the server's own files, `pushes` the
    repositories of what is pushed here, where the launcher finds it.
    `behind_proxy`: all connections come from a proxy that has TLS and limits of its own.
    """

    coordinator: str
    state: Path = msgspec.field(default_factory=state_directory)
    pushes: Path = msgspec.field(default_factory=pushes_directory)
    credentials: Credentials | None = None
    bind: str = DEFAULT_WEB
    tls: tuple[Path, Path] | None = None
    behind_proxy: bool = False
    limits: ConnectionLimits = ConnectionLimits()

    @property
    def address(self) -> TcpAddress:
        """The address to listen on. Raises UsageError for one that would send secrets in the clear."""
        address = parse_tcp(self.bind, default_port=parse_tcp(DEFAULT_WEB).port)
        if not address.loopback and self.tls is None and not self.behind_proxy:
            raise UsageError(
                f"{self.bind} can be reached by other machines, and what they send would not be encrypted: give "
                "--tls-cert and --tls-key, or --behind-proxy if a proxy on this network does that"
            )
        return address

    def check(self) -> None:
        """Raises UsageError for an address or files that can't be used."""
        _ = self.address
        _tls_context(self.tls)


def serve(settings: WebSettings, ready: Callable[[str], None]) -> None:
    """Serves until SIGTERM or SIGINT. Calls `ready` with the URL once it listens.

    Raises UsageError for bad settings, LongshoreError for an address that can't be used.
    """
    asyncio.run(_serve(settings, ready))


async def _serve(settings: WebSettings, ready: Callable[[str], None]) -> None:
    address, tls = settings.address, _tls_context(settings.tls)
    limits = settings.limits
    if settings.behind_proxy:
        limits = msgspec.structs.replace(limits, per_address=None)
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)  # strangers could fill it; `_errors` has our faults
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    upstream = Upstream(settings.coordinator, settings.credentials)
    projects = Projects(upstream)
    app = web.Application()
    runner = web.AppRunner(app, access_log=None, lingering_time=LINGER_SECONDS, handler_cancellation=True)
    connections = Connections(limits, lambda: _handler(runner), tls)
    app.middlewares.append(connections.middleware)
    app.middlewares.append(_errors)
    app.on_response_prepare.append(_add_headers)
    webhooks = Webhooks(upstream, projects)
    app.router.add_post(f"/hooks/{PROJECT}", webhooks.receive, expect_handler=webhooks.expect)
    app.router.add_get("/healthz", _health)
    git = GitServer(settings.state, settings.pushes, settings.coordinator, settings.credentials, projects)
    app.router.add_route("GET", ROUTE, git.serve)
    app.router.add_route("POST", ROUTE, git.serve)
    await git.start()
    await runner.setup()
    watch = asyncio.create_task(connections.watch())
    try:
        server = await _listen(connections, address)
        port = server.sockets[0].getsockname()[1]
        host = f"[{address.host}]" if ":" in address.host else address.host
        url = f"{'https' if tls else 'http'}://{host}:{port}"
        log.info("serving at %s for the coordinator at %s", url, settings.coordinator)
        ready(url)
        await ended.wait()
        server.close()
    finally:
        watch.cancel()
        await runner.shutdown()
        await runner.cleanup()
        await git.stop()
        await loop.run_in_executor(None, upstream.close)


async def _listen(connections: Connections, address: TcpAddress) -> asyncio.Server:
    try:
        loop = asyncio.get_running_loop()
        return await loop.create_server(connections, address.host, address.port, backlog=BACKLOG)
    except OSError as error:
        place = f"{address.host}:{address.port}"
        raise LongshoreError(f"can't listen at {place}: {error.strerror or error}") from error


def _handler(runner: web.AppRunner) -> asyncio.Protocol:
    assert runner.server is not None
    return runner.server()


def _tls_context(files: tuple[Path, Path] | None) -> ssl.SSLContext | None:
    """The TLS of a certificate and its key. Raises UsageError naming the file that is at fault."""
    if files is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    for file in files:
        try:
            file.open("rb").close()
        except OSError as error:
            raise UsageError(f"can't read {file}: {error.strerror}") from error
    try:
        context.load_cert_chain(*files)
    except (ssl.SSLError, OSError) as error:
        raise UsageError(f"{files[0]} and {files[1]} are not a certificate and its key in PEM: {error}") from error
    return context


@web.middleware
async def _errors(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Turns unexpected errors into a 500 without details; the log has them."""
    try:
        return await handler(request)
    except (web.HTTPException, asyncio.CancelledError, ConnectionError):
        raise
    except Exception:
        log.exception("can't answer %s %s", request.method, request.path[:200])
        raise web.HTTPInternalServerError(text="internal error; see the server's log\n") from None


async def _add_headers(_request: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(HEADERS)
    with contextlib.suppress(KeyError):
        del response.headers["Server"]


async def _health(_request: web.Request) -> web.Response:
    return web.Response(text="ok\n")
