"""What an operator may set of a coordinator."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from coordinator.engine.settings import Settings
from coordinator.maintenance.retention import Retention
from coordinator.security.limits import Limits
from coordinator.store.database import sqlite_url
from protocol.addresses import DEFAULT_COORDINATOR, TcpAddress, parse_tcp


@dataclass(frozen=True, slots=True, kw_only=True)
class CoordinatorSettings:
    """Where a coordinator keeps things and listens.

    `state` is the directory of logs, blobs and, unless `database` is a URL, an SQLite file. `feed_bind` of None: any
    free port of the host that `bind` names; peers are told which. `secure`: TCP connections are encrypted, and only
    those are taken whose keys are known; only tests switch it off. `engine` are the times that jobs depend on,
    `retention` is what is kept of finished runs.
    """

    state: Path
    bind: str = DEFAULT_COORDINATOR
    feed_bind: str | None = None
    database: str | None = None
    secure: bool = True
    limits: Limits = field(default_factory=Limits)
    engine: Settings = field(default_factory=Settings)
    retention: Retention = field(default_factory=Retention)

    @property
    def database_url(self) -> str:
        """Where the rows are."""
        return self.database or sqlite_url(self.state / "longshore.db")

    @property
    def feed_address(self) -> str:
        """Where the feed binds. Raises UsageError for a `bind` that it can't be told from."""
        return self.feed_bind or str(TcpAddress(parse_tcp(self.bind).host, 0))
