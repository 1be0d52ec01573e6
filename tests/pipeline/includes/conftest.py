"""Servers on loopback for the tests of included files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.certificates import Authority
from tests.support.web_server import WebServer


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The authority that signs the servers' certificates."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def server(authority: Authority) -> Iterator[WebServer]:
    """A TLS server with a valid certificate for 127.0.0.1, localhost and public.test."""
    server = WebServer(authority.context("127.0.0.1", "localhost", "public.test"))
    yield server
    server.close()


@pytest.fixture
def trust(authority: Authority) -> dict[str, str]:
    """The environment of a client that trusts the authority."""
    return {"SSL_CERT_FILE": str(authority.file)}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's cache directory."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"
