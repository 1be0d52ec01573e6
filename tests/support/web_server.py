"""An HTTP or HTTPS server on loopback that behaves well or badly, and a proxy to it."""

from __future__ import annotations

import http.server
import select
import socket
import ssl
import threading
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

CHUNK = b"#" * (1 << 20)
GIGABYTE = 1 << 30


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: WebServer

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        self.server.requests.append((self.path, {name.title(): value for name, value in self.headers.items()}))
        self.close_connection = True
        if path in self.server.files:
            self.answer(200, self.server.files[path])
        elif path in self.server.redirects:
            self.answer(302, b"", Location=self.server.redirects[path])
        elif path.strip("/").isdecimal():
            self.answer(int(path.strip("/")), b"no\n")
        else:
            found: Callable[[], None] = getattr(self, path.strip("/").replace("-", "_"))
            found()

    def answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def silent(self) -> None:
        self.server.stopping.wait(60)

    def held(self) -> None:
        self.server.released.wait(60)
        self.answer(200, b"job: {script: [x]}\n")

    def drip(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "1000000")
        self.end_headers()
        self._dripping()

    def drip_headers(self) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
        self._dripping()

    def _dripping(self) -> None:
        while not self.server.stopping.wait(0.05):
            self.wfile.write(b"#")

    def cut(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        self.wfile.write(b"job: {script: [x]}")

    def cut_chunked(self) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.write(b"12\r\njob: {script: [x]}\r\n")

    def chunked(self) -> None:
        self.cut_chunked()
        self.wfile.write(b"1\r\n\n\r\n0\r\n\r\n")

    def hang_up(self) -> None:
        pass

    def nonsense(self) -> None:
        self.wfile.write(b"\x00\x01\x02 this is not HTTP\r\n\r\n")

    def big(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(GIGABYTE))
        self.end_headers()
        self._gigabyte(lambda: self.wfile.write(CHUNK))

    def big_silent(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(GIGABYTE))
        self.end_headers()
        self.server.stopping.wait(60)

    def big_chunked(self) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self._gigabyte(lambda: self.wfile.write(b"%x\r\n%s\r\n" % (len(CHUNK), CHUNK)))

    def _gigabyte(self, write: Callable[[], int]) -> None:
        for _ in range(GIGABYTE // len(CHUNK)):
            write()
            self.server.sent += len(CHUNK)

    def gzip(self) -> None:
        self.answer(200, b"\x1f\x8b\x08\x00", Content_Encoding="gzip")

    def log_message(self, format: str, *args: Any) -> None:
        pass


class WebServer(http.server.ThreadingHTTPServer):
    """Serves `files` by path and redirects those in `redirects`; other paths name a misbehaviour or a status.

    With a `context` it speaks TLS. `requests` are the paths and headers it was asked for. `/held` is answered once
    `released` is set.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self, context: ssl.SSLContext | None = None, files: Mapping[str, bytes] | None = None) -> None:
        self.files = dict(files or {})
        self.redirects: dict[str, str] = {}
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.sent = 0
        self.stopping = threading.Event()
        self.released = threading.Event()
        self._context = context
        super().__init__(("127.0.0.1", 0), _Handler)
        self.port = int(self.server_address[1])
        self.scheme = "https" if context else "http"
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        """The URL of a path on this server."""
        return f"{self.scheme}://{host}:{self.port}{path}"

    def finish_request(self, request: Any, client_address: Any) -> None:
        try:
            if self._context is not None:
                request = self._context.wrap_socket(request, server_side=True)
            super().finish_request(request, client_address)
            request.close()
        except OSError:  # a client that refuses our certificate, or has enough
            pass

    def close(self) -> None:
        """Stops serving, misbehaviour included."""
        self.stopping.set()
        self.shutdown()
        self.server_close()


class _ProxyHandler(http.server.BaseHTTPRequestHandler):
    server: Proxy

    def do_CONNECT(self) -> None:
        if self._is_refused():
            return
        with socket.create_connection(("127.0.0.1", self.server.target)) as upstream:
            self.send_response(200)
            self.end_headers()
            while ready := select.select([self.connection, upstream], [], [], 60)[0]:
                for source in ready:
                    data = source.recv(1 << 16)
                    if not data:
                        return
                    (upstream if source is self.connection else self.connection).sendall(data)

    def do_GET(self) -> None:
        if self._is_refused():
            return
        parts = urlsplit(self.path)
        with socket.create_connection(("127.0.0.1", self.server.target)) as upstream:
            upstream.sendall(f"GET {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\n\r\n".encode())
            while data := upstream.recv(1 << 16):
                self.wfile.write(data)

    def _is_refused(self) -> bool:
        self.server.requests.append(f"{self.command} {self.path}")
        wanted = self.server.authorization
        if wanted and self.headers.get("Proxy-Authorization") != wanted:
            self.send_error(407)
            return True
        return False

    def log_message(self, format: str, *args: Any) -> None:
        pass


class Proxy(http.server.ThreadingHTTPServer):
    """An HTTP proxy that leads every host to one port of loopback; `requests` are its request lines."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, target: int, authorization: str = "") -> None:
        self.target = target
        self.authorization = authorization
        self.requests: list[str] = []
        super().__init__(("127.0.0.1", 0), _ProxyHandler)
        self.address = f"127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # a client that hangs up

    def close(self) -> None:
        """Stops serving."""
        self.shutdown()
        self.server_close()
