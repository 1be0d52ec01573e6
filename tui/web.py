"""Serves the dashboard to a browser through textual-serve, protected by a token that it prints.

Each browser gets its own dashboard process. A client has all powers of the dashboard, hence: loopback by default, a
token in the URL that is turned into a cookie at once, and no responses to pages of another origin. Nothing is loaded
from any other server.
"""

from __future__ import annotations

import hmac
import html
import re
import secrets
import shlex
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from aiohttp import web
from textual_serve.server import Server

from protocol.addresses import DEFAULT_DASHBOARD, parse_tcp
from protocol.errors import LongshoreError, UsageError
from tui.launch import longshore_command

TOKEN_BYTES = 24
LINK = re.compile(r'<link\b[^>]*\bhref="([^"]*)"[^>]*>', re.DOTALL)
HEAD = """<link rel="icon" href="data:,">
<style>@font-face { font-family: "Roboto Mono"; font-weight: 100 700;
  src: url("STATICfonts/RobotoMono-VariableFont_wght.ttf") format("truetype"); }</style>
<style>body { margin: 0; overflow: hidden; }</style>
<script>  /* give the terminal the keyboard as soon as it exists */
  const waiting = setInterval(() => {
    const keys = document.querySelector(".xterm-helper-textarea");
    if (keys && document.body.classList.contains("-first-byte")) { keys.focus(); clearInterval(waiting); }
  }, 50);
</script>
</head>"""
HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data:; font-src 'self' data:; connect-src 'self'; form-action 'none'; base-uri 'none'"
    ),
}
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class DashboardServer(Server):
    """Serves the dashboard of the coordinator at `address`; calls `ready` with the URL once it listens."""

    def __init__(self, address: str, host: str, port: int, ready: Callable[[str], None]) -> None:
        command = shlex.join([*longshore_command(), "tui", "--coordinator", address])
        super().__init__(command, host=host, port=port, title="Longshore")
        self.token = secrets.token_urlsafe(TOKEN_BYTES)
        self._ready = ready

    @property
    def link(self) -> str:
        """The URL to open in a browser."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}/?token={self.token}"

    def serve(self, debug: bool = False) -> None:
        """Serves until interrupted. Raises LongshoreError if it can't listen."""
        try:
            super().serve(debug)
        except OSError as error:
            raise LongshoreError(f"can't serve at {self.host}:{self.port}: {error.strerror or error}") from error

    def initialize_logging(self) -> None:
        """Left to the command line."""

    async def on_startup(self, app: web.Application) -> None:
        """Announces the URL."""
        self._ready(self.link)

    async def _make_app(self) -> web.Application:
        app = await super()._make_app()

        @web.middleware
        async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
            return await self._guard(request, handler)

        app.middlewares.append(guard)
        app.on_response_prepare.append(_add_headers)
        return app

    async def handle_index(self, request: web.Request) -> web.Response:
        """The page, self-contained, with this server's address as seen by the browser."""
        self.public_url = f"http://{request.host}"
        page = await super().handle_index(request)
        assert isinstance(page, web.Response)
        static = html.escape(f"{self.public_url}/static/")
        own = LINK.sub(lambda link: link[0] if link[1].startswith(static) else "", page.text or "")
        page.text = own.replace("</head>", HEAD.replace("STATIC", static))
        return page

    @property
    def _cookie(self) -> str:
        """Cookies are shared across ports, and another port may serve another dashboard; hence the port in the name."""
        return f"longshore-{self.port}"

    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Admits requests with the token, addressed to our own name, from our own page."""
        if not self._is_our_name(request.host):
            return _refusal("this is not the name of this server")
        origin = request.headers.get("Origin")
        if origin is not None and urlsplit(origin).netloc != request.host:
            return _refusal("pages of other servers may not use this one")
        given = request.query.get("token")
        if given is not None and request.path == "/" and hmac.compare_digest(given.encode(), self.token.encode()):
            onwards = web.HTTPFound("/")  # removes the token from the address bar
            onwards.set_cookie(self._cookie, self.token, httponly=True, samesite="Strict", path="/")
            raise onwards
        if not hmac.compare_digest(request.cookies.get(self._cookie, "").encode(), self.token.encode()):
            return _refusal("open the address that `longshore tui --web` has printed, with its token")
        return await handler(request)

    def _is_our_name(self, name: str) -> bool:
        """Defends against DNS rebinding: on loopback, only loopback names are ours."""
        host = urlsplit(f"//{name}").hostname or ""
        if self.host in ("127.0.0.1", "::1", "localhost"):
            return host in ("127.0.0.1", "::1", "localhost")
        return True


async def _add_headers(_request: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(HEADERS)


def _refusal(why: str) -> web.Response:
    return web.Response(status=403, text=f"{why}\n")


def serve(address: str, place: str = DEFAULT_DASHBOARD, ready: Callable[[str], None] = print) -> None:
    """Serves the dashboard of the coordinator at `address` at `place`, HOST:PORT, until interrupted.

    Calls `ready` with the URL, including the token. Raises UsageError for an invalid place, LongshoreError for an
    unavailable one.
    """
    if not address.startswith("tcp://"):
        raise UsageError("a dashboard for browsers needs a coordinator of its own; see `longshore up`")
    where = parse_tcp(place, default_port=parse_tcp(DEFAULT_DASHBOARD).port)
    DashboardServer(address, where.host, where.port, ready).serve()
