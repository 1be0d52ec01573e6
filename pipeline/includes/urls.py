"""URLs of included files: their parts, and how they are named without their secrets. Pure."""

from __future__ import annotations

import hashlib
from typing import NamedTuple
from urllib.parse import SplitResult, unquote, urlsplit

from protocol.errors import LongshoreError

MAX_URL = 2_048
"""Maximum length of a URL, as in GitLab's own checks."""
PORTS = {"http": 80, "https": 443}


class Address(NamedTuple):
    """A URL to fetch. `credentials` are `user:password`, if it has any."""

    scheme: str
    host: str
    port: int
    target: str
    credentials: str

    @property
    def netloc(self) -> str:
        """Host and port as in a Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """The URL to request, without credentials."""
        return f"{self.scheme}://{self.netloc}{self.target}"


def parse_url(url: str) -> Address:
    """The parts of an HTTP or HTTPS URL. Raises LongshoreError; its message does not contain the URL."""
    try:
        if len(url) > MAX_URL:
            raise LongshoreError(f"the URL is longer than {MAX_URL} characters")
        if not url.isprintable() or " " in url:
            raise LongshoreError("the URL contains blanks or control characters")
        parts = urlsplit(url)
        port = parts.port
        host = (parts.hostname or "").rstrip(".")
        if host and not host.isascii():
            host = host.encode("idna").decode()
    except ValueError:
        raise LongshoreError("the URL is malformed") from None
    if parts.scheme not in PORTS:
        raise LongshoreError("the URL does not begin with https:// or http://")
    if not host:
        raise LongshoreError("the URL names no host")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    user = unquote(parts.username or "")
    credentials = f"{user}:{unquote(parts.password or '')}" if parts.username is not None else ""
    return Address(parts.scheme, host, port or PORTS[parts.scheme], target, credentials)


def printable_url(url: str) -> str:
    """A URL without its secrets: no credentials, no fragment, and `?...` for a query."""
    parts, netloc = _split(url)
    return f"{parts.scheme}://{netloc}{parts.path}{'?...' if parts.query else ''}"[:300]


def url_name(url: str) -> str:
    """A URL's name in a lock file: distinct for distinct queries, and without secrets."""
    parts, netloc = _split(url)
    query = f"?sha256={hashlib.sha256(parts.query.encode()).hexdigest()[:32]}" if parts.query else ""
    return f"{parts.scheme}://{netloc}{parts.path}{query}"


def _split(url: str) -> tuple[SplitResult, str]:
    try:
        parts = urlsplit(url)
    except ValueError:
        parts = urlsplit(url.replace("[", "").replace("]", ""))
    return parts, parts.netloc.rpartition("@")[2]
