"""The dashboard in a browser: served to those who have the token, and to nobody else's page."""

from __future__ import annotations

import asyncio
import gc
import os
import re
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web

from protocol.errors import UsageError
from tests.support.coordinator_thread import ScriptedWorker, Server
from tests.support.eventually import DEADLINE, aeventually
from tests.support.plans import job, plan
from tests.tui import chromium
from tui.web import DashboardServer, serve

# textual-serve does not wait for its processes, so their pipes may outlive a test's loop
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
PICTURES = os.environ.get("LONGSHORE_TEST_ARTIFACTS")
"""A folder for screenshots, if they are to be kept."""


@pytest.fixture(autouse=True)
def _pipes_end_here() -> Iterator[None]:
    """They are closed where their warning is ignored, not in some later test."""
    yield
    gc.collect()


@pytest_asyncio.fixture
async def site(server: Server) -> AsyncIterator[DashboardServer]:
    """The dashboard of the coordinator, served at a free port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    links: list[str] = []
    site = DashboardServer(server.address, "127.0.0.1", port, links.append)
    runner = web.AppRunner(await site._make_app())
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    assert links == [site.link]
    yield site
    await runner.cleanup()


@pytest.fixture
def base(site: DashboardServer) -> str:
    """The site's address, without the token."""
    return f"http://127.0.0.1:{site.port}"


async def test_nothing_is_served_without_the_token(site: DashboardServer, base: str) -> None:
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
        for path in ("/", "/?token=wrong", "/static/js/textual.js", "/ws", f"/ws?token={site.token}", "/download/x"):
            async with session.get(base + path) as answer:
                assert answer.status == 403, path


async def test_the_token_becomes_a_cookie_and_leaves_the_address(site: DashboardServer, base: str) -> None:
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
        async with session.get(site.link, allow_redirects=False) as answer:
            assert (answer.status, answer.headers["Location"]) == (302, "/")
            cookie = answer.headers["Set-Cookie"]
            assert "HttpOnly" in cookie
            assert "SameSite=Strict" in cookie
        async with session.get(base) as answer:
            assert answer.status == 200
            assert answer.headers["Cache-Control"] == "no-store"


async def test_the_page_asks_no_other_server_for_anything(site: DashboardServer, base: str) -> None:
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
        async with session.get(site.link) as answer:
            page = await answer.text()
        addresses = set(re.findall(r"""(?:href|src|url)\s*[=(]\s*["']?((?:https?:)?//[^"')\s>]+)""", page))
        assert {"xterm.css", "textual.js"} <= {address.rsplit("/", 1)[1] for address in addresses}
        assert all(address.startswith(base) for address in addresses)
        for address in addresses:
            async with session.get(address) as answer:
                assert answer.status == 200, address


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Host": "evil.example"},
    ],
)
async def test_pages_of_others_and_names_of_others_are_refused(
    site: DashboardServer, base: str, headers: dict[str, str]
) -> None:
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
        async with session.get(site.link):
            pass
        for path in ("/", "/ws"):
            async with session.get(base + path, headers=headers) as answer:
                assert answer.status == 403
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await session.ws_connect(f"{base}/ws", headers=headers)


def test_a_place_or_a_coordinator_that_cant_be_is_refused() -> None:
    with pytest.raises(UsageError, match="bad address"):
        serve("tcp://127.0.0.1:7700", "127.0.0.1:notaport")
    with pytest.raises(UsageError, match="needs a coordinator"):
        serve("inproc://embedded")


async def test_the_dashboard_comes_over_the_websocket(
    server: Server, worker: ScriptedWorker, site: DashboardServer, base: str
) -> None:
    server.submit(plan(job("compile", "build"), name="over the web"))
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
        async with session.get(site.link):
            pass
        received = b""
        async with session.ws_connect(f"{base}/ws?width=100&height=30", headers={"Origin": base}) as terminal:
            async with asyncio.timeout(DEADLINE):
                while b"over the web" not in received:
                    message = await terminal.receive()
                    received += message.data if isinstance(message.data, bytes) else b""


async def test_in_a_real_browser_it_loads_a_key_moves_the_selection_and_a_live_log_line_appears(
    server: Server, worker: ScriptedWorker, site: DashboardServer, base: str, tmp_path: Path
) -> None:
    if chromium.find() is None:
        pytest.skip("needs a Chromium that runs: apt-get install chromium")
    server.submit(plan(job("compile", "build"), job("assets", "build")))
    worker.begin("assets")
    worker.log("assets", b"$ make assets\n")
    pictures = Path(PICTURES) if PICTURES else tmp_path
    async with chromium.chromium(tmp_path / "profile") as tab:
        await tab.open(site.link)
        await tab.shows("Progress")
        await tab.shows("0/2")
        await tab.shows("Open")  # the keys of the list: it has the focus
        await tab.press("Enter")
        await tab.shows("assets")
        seen = len(tab.received)
        await tab.press("ArrowDown")
        await tab.shows("$ make assets", seen)
        before = await tab.picture(pictures / "browser-run.png")
        seen = len(tab.received)
        worker.log("assets", b"a line that comes while one watches\n")
        await tab.shows("a line that comes while one watches", seen)
        await aeventually(  # the page draws what it has received
            lambda: tab.picture(pictures / "browser-log.png"), so=lambda picture: picture != before
        )
        assert tab.asked
        assert all(address.startswith((base, f"ws://127.0.0.1:{site.port}", "data:")) for address in tab.asked)
        assert not tab.complaints
