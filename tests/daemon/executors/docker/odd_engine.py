"""Stands between daemon and engine, and answers some requests itself, as an engine does about one odd object."""

from __future__ import annotations

import contextlib
import json
import re
import select
import socket
import threading
from dataclasses import dataclass
from pathlib import Path

ENGINE = "/var/run/docker.sock"
DEAF = -1

BEGINNING_BYTES = 1 << 16


@dataclass(slots=True)
class Rule:
    """Answers requests whose first line matches with `status` and `body` (raw if bytes); `times`: so often, None: ever.

    They must also contain the bytes `having`. A status of 0 closes the connection without an answer, one of -1 leaves
    it open without one.
    """

    request: re.Pattern[str]
    status: int
    body: object
    times: int | None = None
    having: bytes = b""
    asked: int = 0

    def means(self, line: str, request: bytes) -> bool:
        """Whether it answers this request."""
        return self.times != 0 and bool(self.request.search(line)) and self.having in request


class OddEngine:
    """The engine of this host at another socket, with rules."""

    def __init__(self, path: Path) -> None:
        self.url = f"unix://{path}"
        self._rules: list[Rule] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(50)
        threading.Thread(target=self._accept, daemon=True).start()

    def answer(self, request: str, status: int, body: object, *, times: int | None = None, having: bytes = b"") -> Rule:
        """From now on requests like `GET /containers/x/json` that this expression matches get this answer."""
        rule = Rule(re.compile(request), status, body, times, having)
        self._rules.insert(0, rule)
        return rule

    def deafen(self, request: str) -> Rule:
        """From now on such requests are never answered."""
        return self.answer(request, DEAF, None)

    def forget(self) -> None:
        """From now on all requests are answered by the engine, as at first."""
        self._rules.clear()

    def close(self) -> None:
        """No more connections."""
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(near,), daemon=True).start()

    def _serve(self, near: socket.socket) -> None:
        with contextlib.suppress(OSError), near:
            head = _beginning(near)
            line = head.split(b" HTTP/", 1)[0].decode(errors="replace")
            rule = next((one for one in self._rules if one.means(line, head)), None)
            if rule is None:
                _relay(near, head)
                return
            rule.asked += 1
            if rule.times is not None:
                rule.times -= 1
            if rule.status == DEAF:
                threading.Event().wait()
            if rule.status:
                body = rule.body if isinstance(rule.body, bytes) else json.dumps(rule.body).encode()
                near.sendall(b"HTTP/1.1 %d Odd\r\nContent-Length: %d\r\n\r\n" % (rule.status, len(body)) + body)


def _beginning(near: socket.socket) -> bytes:
    """The beginning of a request, with its body if that is short: a client sends it after the head."""
    data = near.recv(BEGINNING_BYTES)
    above, end, _ = data.partition(b"\r\n\r\n")
    length = re.search(rb"content-length: *(\d+)", above, re.IGNORECASE)
    whole = len(above + end) + (int(length[1]) if end and length else 0)
    while len(data) < whole <= BEGINNING_BYTES and (more := near.recv(whole - len(data))):
        data += more
    return data


def _relay(near: socket.socket, beginning: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as far:
        far.connect(ENGINE)
        far.sendall(beginning)
        while True:
            ready, _, _ = select.select([near, far], [], [])
            for source in ready:
                target = far if source is near else near
                if data := source.recv(1 << 16):
                    target.sendall(data)
                elif source is far:
                    return
                else:
                    far.shutdown(socket.SHUT_WR)
                    _drain(far, near)
                    return


def _drain(source: socket.socket, target: socket.socket) -> None:
    while data := source.recv(1 << 16):
        target.sendall(data)
