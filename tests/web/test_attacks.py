"""What strangers may try: half requests, huge bodies, many connections. Everybody else is served meanwhile."""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from pathlib import Path

import pytest

from protocol.errors import UsageError
from tests.support.certificates import Authority
from tests.support.eventually import DEADLINE, eventually
from tests.web.hooks import deliveries as d
from tests.web.site import Site, is_closed
from web.connections import ConnectionLimits
from web.server import WebSettings
from web.webhooks import MAX_BODY_BYTES

MANY = 700
"""Connections of one address, more than it may have."""
MOST = ConnectionLimits().per_address or 0


def test_many_half_requests_are_dropped_and_lock_nobody_out(site: Site) -> None:
    site.add_project("team/besieged")
    halves: list[socket.socket] = []
    with contextlib.ExitStack() as stack:
        for number in range(MANY):
            half = stack.enter_context(site.connect())
            half.sendall(b"POST /hooks/team/besieged HTTP/1.1\r\nHost: x\r\nX-Slow: " if number % 2 else b"")
            halves.append(half)
        began = time.monotonic()
        assert site.hook("team/besieged", d.PUSHES["github"]()).status == 202
        eventually(lambda: sum(is_closed(half) for half in halves), so=lambda closed: closed >= MANY - MOST)
        while not all(is_closed(half) for half in halves):  # each adds a little before its time is over
            assert time.monotonic() - began < DEADLINE
            for half in halves:
                with contextlib.suppress(OSError):
                    half.send(b"x")
            time.sleep(0.2)
        assert site.hook("team/besieged", d.PUSHES["github"]()).status == 200
    assert len(site.triggers("team/besieged")) == 1


def test_a_huge_body_is_refused_before_it_is_read(site: Site) -> None:
    site.add_project("team/huge")
    for head in (b"Content-Length: 1073741824", b"Transfer-Encoding: chunked"):
        sent = 0
        piece = b"10000\r\n" + b"x" * 65536 + b"\r\n" if head.startswith(b"Transfer") else b"x" * 65536
        with site.connect() as connection:
            connection.sendall(b"POST /hooks/team/huge HTTP/1.1\r\nHost: x\r\n" + head + b"\r\n\r\n")
            with contextlib.suppress(OSError):  # until the server hangs up
                while sent < 1 << 30:
                    connection.sendall(piece)
                    sent += len(piece)
            assert sent < 1 << 30, "it read on"
        with site.connect() as connection:
            connection.sendall(b"POST /hooks/team/huge HTTP/1.1\r\nHost: x\r\n" + head + b"\r\n\r\n")
            if head.startswith(b"Transfer"):
                connection.sendall(piece * (MAX_BODY_BYTES // 65536 + 1))
            assert connection.recv(12) == b"HTTP/1.1 413"
        with site.connect() as connection:
            asked = b"\r\nExpect: 100-continue\r\n\r\n"
            connection.sendall(b"POST /hooks/team/huge HTTP/1.1\r\nHost: x\r\nContent-Length: 1073741824" + asked)
            assert connection.recv(12) == b"HTTP/1.1 413", "without the body having been asked for"


def test_malformed_requests_are_answered_and_harm_nobody(site: Site) -> None:
    for bytes_sent in (
        b"\x16\x03\x01 not TLS here\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /hooks/a/b HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
        b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"".join(b"X-%d: y\r\n" % number for number in range(500)) + b"\r\n",
    ):
        with site.connect() as connection:
            connection.sendall(bytes_sent)
            assert connection.recv(12).endswith(b" 400"), bytes_sent[:40]
    assert site.post("/hooks/team", {}, b"").status == 403
    assert "Traceback" not in site.web.said


def test_with_tls_hooks_are_encrypted_and_stuck_handshakes_dropped(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "authority")
    file = str(authority.certificate("127.0.0.1"))
    tmp_path.joinpath("site").mkdir()
    with Site(tmp_path / "site", "--tls-cert", file, "--tls-key", file) as site:
        assert site.url.startswith("https://127.0.0.1:")
        site.add_project("team/app")
        with contextlib.ExitStack() as stack:
            stuck = [stack.enter_context(site.connect()) for _ in range(MANY)]
            for connection in stuck[::2]:
                connection.sendall(b"\x16\x03\x01\x02\x00\x01")
            for status in (202, 200):
                answer = site.post("/hooks/team/app", *d.PUSHES["gitea"](), ca_certs=str(authority.file))
                assert answer.status == status
            eventually(lambda: all(is_closed(connection) for connection in stuck))
        trusting_others = ssl.create_default_context()
        with site.connect() as connection, pytest.raises(ssl.SSLError):
            trusting_others.wrap_socket(connection, server_hostname="127.0.0.1")
        assert site.post("/hooks/team/app", *d.PUSHES["gitea"](), ca_certs=str(authority.file)).status == 200
        assert "Traceback" not in site.web.said


def test_other_machines_are_served_only_with_tls_or_behind_a_proxy(tmp_path: Path) -> None:
    file = Authority(tmp_path / "authority").certificate("web.example")
    for bind in ("0.0.0.0:8780", "[::]:8780", "web.example"):
        with pytest.raises(UsageError, match="--tls-cert"):
            WebSettings(coordinator="", bind=bind).check()
        WebSettings(coordinator="", bind=bind, tls=(file, file)).check()
        WebSettings(coordinator="", bind=bind, behind_proxy=True).check()
    WebSettings(coordinator="", bind="localhost:0").check()
    missing, empty = tmp_path / "missing.pem", tmp_path / "empty.pem"
    empty.touch()
    for pair, word in (((file, missing), "missing.pem"), ((empty, empty), "certificate")):
        with pytest.raises(UsageError, match=word):
            WebSettings(coordinator="", tls=pair).check()
