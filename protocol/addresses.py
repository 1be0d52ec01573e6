"""Where things listen: parsing and checking `tcp://HOST:PORT` and `inproc://NAME`. Pure: opens nothing."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address

from protocol.errors import UsageError

DEFAULT_COORDINATOR = "tcp://127.0.0.1:7700"
"""Where a coordinator listens unless told otherwise: this machine only."""
DEFAULT_DASHBOARD = "127.0.0.1:8700"
"""Where the dashboard is served to browsers unless told otherwise: this machine only."""
WILDCARDS = frozenset({"*", "0.0.0.0", "::"})


@dataclass(frozen=True, slots=True)
class TcpAddress:
    """A TCP endpoint in its parts. `host` has no brackets; `port` 0 means: any free one (binding only)."""

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
    """The parts of `tcp://HOST:PORT`; the scheme, and the port if there is a default, may be left out.

    Raises UsageError naming the address and the form that is expected.
    """
    rest = address.removeprefix("tcp://")
    host, colon, port = rest.rpartition(":")
    if (not colon or rest.endswith("]")) and default_port is not None:
        host, port = rest, str(default_port)
    host = host.removeprefix("[").removesuffix("]")
    if not host or "/" in host or not port.isdigit() or int(port) > 65535:
        raise UsageError(f"bad address {address!r}: give it as tcp://HOST:PORT, for example {DEFAULT_COORDINATOR}")
    return TcpAddress(host, int(port))


def reachable_feed(coordinator: str, told: str) -> str:
    """The feed's address for someone who reached the coordinator at `coordinator`.

    A coordinator that listens on every interface tells a wildcard host, which nobody can connect to; the host by
    which it was reached takes its place.
    """
    if not told.startswith("tcp://") or not coordinator.startswith("tcp://"):
        return told
    feed = parse_tcp(told)
    if feed.host not in WILDCARDS:
        return told
    return str(TcpAddress(parse_tcp(coordinator).host, feed.port))
