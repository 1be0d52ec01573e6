"""A real headless Chromium, driven by its DevTools protocol over a websocket."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import re
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any

import aiohttp

from tests.support.eventually import DEADLINE, aeventually

KEYS = {
    "Enter": {"key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13, "text": "\r"},
    "ArrowDown": {"key": "ArrowDown", "code": "ArrowDown", "windowsVirtualKeyCode": 40},
}


@cache
def find() -> str | None:
    """Where a Chromium is that runs, if there is one: some systems have only a script that says what to install."""
    for program in filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))):
        if subprocess.run([program, "--version"], stdin=subprocess.DEVNULL, capture_output=True).returncode == 0:
            return program
    return None


class Tab:
    """One page. `received` is all that its websockets were sent; `asked` are the addresses that it loaded."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._ids = itertools.count(1)
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self.received = b""
        self.asked: list[str] = []
        self.complaints: list[str] = []
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        async for message in self._socket:
            told = json.loads(message.data)
            match told.get("method"):
                case "Network.webSocketFrameReceived":
                    frame = told["params"]["response"]
                    if frame["opcode"] == 2:
                        self.received += base64.b64decode(frame["payloadData"])
                case "Network.requestWillBeSent":
                    self.asked.append(told["params"]["request"]["url"])
                case "Log.entryAdded" if told["params"]["entry"]["level"] == "error":
                    self.complaints.append(told["params"]["entry"]["text"])
                case "Runtime.exceptionThrown":
                    self.complaints.append(json.dumps(told["params"]))
                case None if told["id"] in self._answers:
                    self._answers.pop(told["id"]).set_result(told)

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Asks the browser for something."""
        number = next(self._ids)
        future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._answers[number] = future
        await self._socket.send_json({"id": number, "method": method, "params": params})
        async with asyncio.timeout(DEADLINE):
            answer = await future
        assert "error" not in answer, answer
        result: dict[str, Any] = answer["result"]
        return result

    async def open(self, address: str) -> None:
        """Goes to a page."""
        for domain in ("Network", "Page", "Log", "Runtime"):
            await self.call(f"{domain}.enable")
        await self.call("Emulation.setFocusEmulationEnabled", enabled=True)
        await self.call("Page.navigate", url=address)

    async def press(self, key: str) -> None:
        """Presses a key."""
        fields = KEYS.get(key, {"key": key, "text": key})
        await self.call("Input.dispatchKeyEvent", type="keyDown", **fields)
        await self.call("Input.dispatchKeyEvent", type="keyUp", **{k: v for k, v in fields.items() if k != "text"})

    async def shows(self, text: str, since: int = 0) -> None:
        """Waits until a text has come to the terminal in the page, after byte `since` of what it received."""
        await aeventually(
            lambda: re.sub(rb"\x1b\[[0-9;?]*[a-zA-Z]", b"", self.received[since:]),
            so=lambda shown: text.encode() in shown,
            every=0.05,
        )

    async def picture(self, path: Path) -> bytes:
        """Takes a screenshot."""
        shot = await self.call("Page.captureScreenshot", format="png")
        path.write_bytes(base64.b64decode(shot["data"]))
        return path.read_bytes()


@asynccontextmanager
async def chromium(folder: Path) -> AsyncIterator[Tab]:
    """A browser with one tab, which has no network but this machine's own."""
    binary = find()
    assert binary is not None
    process = await asyncio.create_subprocess_exec(
        binary,
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--remote-debugging-port=0",
        f"--user-data-dir={folder}",
        "--window-size=1200,800",
        "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
        "about:blank",
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        port_file = folder / "DevToolsActivePort"
        await aeventually(lambda: port_file.exists() and port_file.read_text().count("\n"))
        port = port_file.read_text().split("\n")[0]
        async with aiohttp.ClientSession() as session:
            async with session.get(f"http://127.0.0.1:{port}/json") as answer:
                pages = [page for page in await answer.json() if page["type"] == "page"]
            async with session.ws_connect(pages[0]["webSocketDebuggerUrl"], max_msg_size=0) as socket:
                yield Tab(socket)
    finally:
        process.kill()
        await process.wait()
