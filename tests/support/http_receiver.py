"""An HTTP server on loopback that keeps what is posted to it, and answers as a test says."""

from __future__ import annotations

import http.server
import json
import threading
from types import TracebackType
from typing import Any, NamedTuple


class Received(NamedTuple):
    """One request."""

    path: str
    headers: dict[str, str]  # names in lower case
    body: bytes

    @property
    def json(self) -> Any:
        """Its body as JSON."""
        return json.loads(self.body)


class _Handler(http.server.BaseHTTPRequestHandler):
    server: HttpReceiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.received.append(Received(self.path, headers, body))
        self.server.open.wait(60)
        status, extra, answer = self.server.answers.pop(0) if self.server.answers else self.server.answer
        self.send_response(status)
        self.send_header("Content-Length", str(len(answer)))
        for name, value in extra.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: object) -> None:
        pass


class HttpReceiver(http.server.ThreadingHTTPServer):
    """`answers` are given once, in order; then it is `answer`."""

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.received: list[Received] = []
        self.answer: tuple[int, dict[str, str], bytes] = (201, {}, b"{}")
        self.answers: list[tuple[int, dict[str, str], bytes]] = []
        self.open = threading.Event()  # cleared: requests arrive, and get no answer
        self.open.set()
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.server_port}"

    def close(self) -> None:
        """Stops it."""
        self.open.set()
        self.shutdown()
        self.server_close()
        self._thread.join()

    def __enter__(self) -> HttpReceiver:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
