"""Which hosts an include may contact, and through which proxy. Connects to none."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Mapping
from urllib.parse import urlsplit

from pipeline.includes.urls import PORTS, Address, parse_url
from protocol.errors import LongshoreError

ALLOW_LOCAL = "--allow-local-includes"
"""The option that lets an include reach this machine and its link."""
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_LOCAL_NAMES = ("localhost", "localhost.localdomain")


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


def local_address(host: str, port: int) -> str:
    """An address of a host that is local; empty if it has none, or is not known."""
    try:
        answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError:
        return ""
    return next((str(answer[4][0]) for answer in answers if is_local(str(answer[4][0]))), "")


def refuse_local(host: str, environment: Mapping[str, str]) -> None:
    """Refuses a server, HOST or HOST:PORT, that is this machine or on its link. Raises LongshoreError.

    Behind a proxy, only what is local in itself: the proxy resolves other names.
    """
    address = parse_url(f"https://{host}/")
    local = address.host if is_local_name(address.host) else ""
    if not local and proxy_of(address, environment) is None:
        local = local_address(address.host, address.port)
    if local:
        raise LongshoreError(is_out_of_reach(address.host, local))


def is_out_of_reach(host: str, address: str = "") -> str:
    """Why a host is not contacted, to follow the name of what it has."""
    where = f"{host} is {address}," if address and address != host else f"{host} is"
    return f"is not fetched: {where} an address of this machine or its network link; {ALLOW_LOCAL} permits it"


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
