"""URLs of included files: which may be contacted, through which proxy, and how they are printed. Opens no socket."""

from __future__ import annotations

import hashlib
import ipaddress
import socket
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import SplitResult, unquote, urlsplit

from protocol.errors import LongshoreError

MAX_URL = 2_048
"""Maximum length of a URL, as in GitLab's own checks."""
PORTS = {"http": 80, "https": 443}
ALLOW_LOCAL = "--allow-local-includes"
"""The option that lets an include reach this machine and its link."""
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_LOCAL_NAMES = ("localhost", "localhost.localdomain")


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


def is_local(address: str) -> bool:
    """Whether an IP address, as text, is of this machine or its link: loopback, link-local, unspecified, multicast.

    Addresses that only wrap such an IPv4 address count too. False for anything that is no IP address.
    """
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv6Address):
        wrapped = found.ipv4_mapped or found.sixtofour
        if wrapped is None and (found in _NAT64 or int(found) >> 32 == 0):
            wrapped = ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)
        if wrapped is not None and is_local(str(wrapped)):
            return True
    elif int(found) >> 24 == 0:
        return True
    return found.is_loopback or found.is_link_local or found.is_unspecified or found.is_multicast


def is_local_name(host: str) -> bool:
    """Whether a host is local by its name alone, whatever a proxy resolves it to; `2130706433` is 127.0.0.1."""
    try:
        number = socket.inet_ntoa(socket.inet_aton(host))
    except OSError:
        number = host
    return host.lower() in _LOCAL_NAMES or host.lower().endswith(".localhost") or is_local(number)


def proxy_of(address: Address, environment: Mapping[str, str]) -> str | None:
    """The proxy for an address as curl chooses it, or None.

    The variables are `http_proxy` (lower case only), `https_proxy`, `all_proxy` and `no_proxy`; lower case precedes
    upper case. Raises LongshoreError for a proxy that is neither HTTP nor HTTPS.
    """
    if _is_exempt(address.host, _variable(environment, "no_proxy")[1]):
        return None
    if address.scheme == "http":
        name, proxy = "http_proxy", environment.get("http_proxy", "")
    else:
        name, proxy = _variable(environment, "https_proxy")
    if not proxy:
        name, proxy = _variable(environment, "all_proxy")
    if not proxy:
        return None
    if "://" not in proxy:
        proxy = f"http://{proxy}"
    try:
        parts = urlsplit(proxy)
        usable = parts.scheme in PORTS and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        usable = False
    if not usable:
        raise LongshoreError(f"{name} is not the URL of a proxy; write http://HOST:PORT or https://HOST:PORT")
    return proxy


def _variable(environment: Mapping[str, str], name: str) -> tuple[str, str]:
    for key in (name, name.upper()):
        if environment.get(key):
            return key, environment[key]
    return name, ""


def _is_exempt(host: str, listed: str) -> bool:
    """Whether `no_proxy` lists a host: by name, by a domain above it, by address, or by a network (CIDR)."""
    host = host.lower()
    for item in listed.lower().replace(",", " ").split():
        if item == "*":
            return True
        name = item.removeprefix("*").strip("[]").lstrip(".").rstrip(".")
        if "/" in name:
            if _in_network(host, name):
                return True
        elif name and (host == name or (host.endswith(f".{name}") and not _is_address(host))):
            return True
    return False


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _in_network(host: str, network: str) -> bool:
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(network, strict=False)
    except ValueError:
        return False
