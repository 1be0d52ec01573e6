"""A coordinator's settings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from coordinator.children.compiler import CompilerSettings
from coordinator.engine.settings import Settings
from coordinator.maintenance.retention import Retention
from coordinator.security.limits import Limits
from coordinator.store.database import sqlite_url
from protocol.addresses import DEFAULT_COORDINATOR, TcpAddress, parse_tcp


class CoordinatorSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Storage, addresses, security, limits, engine timing, retention, and the compiler of child pipelines.

    `state` is the directory of logs, blobs and, unless `database` is a URL, an SQLite file. `feed_bind` of None: any
    free port of the host in `bind`, announced to peers. `secure`: TCP connections are encrypted and restricted to
    known keys; only tests switch it off. One that lives only for a reader leaves environments that are due to the next
    (`stops_environments`). `web_url` is the base of links to runs in commit statuses and messages; empty: no links.
    `launcher` is the command of the process that starts the runs of projects; without it,
    nobody does.
    """

    state: Path
    bind: str = DEFAULT_COORDINATOR
    feed_bind: str | None = None
    database: str | None = None
    secure: bool = True
    limits: Limits = msgspec.field(default_factory=Limits)
    engine: Settings = msgspec.field(default_factory=Settings)
    retention: Retention = msgspec.field(default_factory=Retention)
    children: CompilerSettings = msgspec.field(default_factory=CompilerSettings)
    stops_environments: bool = True
    web_url: str = ""
    launcher: Sequence[str] = ()

    @property
    def database_url(self) -> str:
        """The database's URL; by default an SQLite file in the state directory."""
        return self.database or sqlite_url(self.state / "longshore.db")

    @property
    def feed_address(self) -> str:
        """The feed's bind address. Raises UsageError if it can't be derived from `bind`."""
        return self.feed_bind or str(TcpAddress(parse_tcp(self.bind).host, 0))
