"""Addresses: parses and checks `tcp://HOST:PORT`. Pure: opens nothing."""

from __future__ import annotations

from ipaddress import ip_address

import msgspec

from protocol.errors import UsageError

DEFAULT_COORDINATOR = "tcp://127.0.0.1:7700"
"""Default address of a coordinator: this machine only."""
DEFAULT_DASHBOARD = "127.0.0.1:8700"
"""Default address at which the dashboard is served to browsers: this machine only."""
DEFAULT_WEB = "127.0.0.1:8780"
"""Default address of the web server: this machine only."""
WILDCARDS = frozenset({"*", "0.0.0.0", "::"})


class TcpAddress(msgspec.Struct, frozen=True):
    """A parsed TCP endpoint. `host` has no brackets; `port` 0 means any free port (binding only)."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"tcp://{host}:{self.port}"

    @property
    def loopback(self) -> bool:
        """Whether only this machine can connect."""
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


def parse_tcp(address: str, *, default_port: int | None = None) -> TcpAddress:
    """Parses `tcp://HOST:PORT`; the scheme is optional, and the port too if `default_port` is given.

    Raises UsageError naming the address and the expected form.
    """
    rest = address.removeprefix("tcp://")
    host, colon, port = rest.rpartition(":")
    if (not colon or rest.endswith("]")) and default_port is not None:
        host, port = rest, str(default_port)
    host = host.removeprefix("[").removesuffix("]")
    if not host or "/" in host or not port.isdigit() or int(port) > 65535:
        raise UsageError(f"bad address {address!r}: give it as tcp://HOST:PORT, for example {DEFAULT_COORDINATOR}")
    return TcpAddress(host, int(port))


def reachable_feed(coordinator: str, announced: str) -> str:
    """The feed's address for a peer that reached the coordinator at `coordinator`.

    A coordinator that listens on every interface announces a wildcard host, which is no destination; it is replaced by
    the host at which the coordinator was reached.
    """
    if not announced.startswith("tcp://") or not coordinator.startswith("tcp://"):
        return announced
    feed = parse_tcp(announced)
    if feed.host not in WILDCARDS:
        return announced
    return str(TcpAddress(parse_tcp(coordinator).host, feed.port))
