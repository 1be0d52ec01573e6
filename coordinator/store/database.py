"""Opens a coordinator's database: connects, locks, migrates, and refuses what it can't be sure of.

The one place that knows how SQLite and PostgreSQL differ.
"""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import peewee
from playhouse.migrations import Runner

from coordinator.lock import Lock
from coordinator.store.models import TABLES
from protocol.errors import LongshoreError, UsageError
from protocol.keys import PRIVATE_FILE

MIGRATIONS = Path(__file__).parent / "migrations"
SQLITE_PRAGMAS = {
    "journal_mode": "wal",
    "synchronous": "full",
    "foreign_keys": 1,
    "busy_timeout": 5000,
    "journal_size_limit": 64 << 20,
    "wal_autocheckpoint": 16_000,  # pages, which is as much: the commit that does it takes ten times as long
}
POSTGRES_DEFAULTS: dict[str, Any] = {
    "connect_timeout": 5,
    "tcp_user_timeout": 15_000,
    "options": "-c statement_timeout=30000",
}
"""A database that does not answer must become an error in bounded time: the coordinator has but one thread."""
ADVISORY_LOCK = 0x6C6F6E6773686F72
"""Held on PostgreSQL by the one coordinator of a database; the number only has to be ours."""
LOCK_RETRY_FOR = 2.0
"""Seconds in which PostgreSQL notices that the connection of a killed coordinator is gone."""


class DatabaseRefused(LongshoreError):
    """The database can't be used as it is; the message says why and what to do."""

    exit_status = 2


class Connection:
    """A database that is open, migrated and ours alone. Used by one thread at a time, whichever that is."""

    def __init__(self, url: str) -> None:
        self.name = _without_password(url)
        self.database = open_database(url)
        self._file_lock: Lock | None = None
        self._reached = False
        path = self._sqlite_path()
        try:
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch(PRIVATE_FILE)  # which SQLite makes its other files by
                self._file_lock = Lock(path.with_name(path.name + ".lock"), f"the database {path}")
            self._connect()
            self._reached = True
            self._migrate()
            self._check_tables()
        except (peewee.PeeweeException, OSError, TypeError) as error:  # TypeError: an option that the driver lacks
            self.close()
            raise self.refusal(error) from error
        except LongshoreError:
            self.close()
            raise

    def _sqlite_path(self) -> Path | None:
        if isinstance(self.database, peewee.SqliteDatabase) and self.database.database != ":memory:":
            return Path(str(self.database.database))
        return None

    def _connect(self) -> None:
        self.database.connect()
        if isinstance(self.database, peewee.PostgresqlDatabase):
            self._take_advisory_lock()

    def _take_advisory_lock(self) -> None:
        deadline = time.monotonic() + LOCK_RETRY_FOR
        while not self.database.execute_sql("SELECT pg_try_advisory_lock(%s)", (ADVISORY_LOCK,)).fetchone()[0]:
            if time.monotonic() > deadline:
                holder = self.database.execute_sql(
                    "SELECT application_name FROM pg_stat_activity WHERE pid IN (SELECT pid FROM pg_locks WHERE "
                    "locktype = 'advisory' AND granted AND (classid::bigint << 32 | objid::bigint) = %s AND database = "
                    "(SELECT oid FROM pg_database WHERE datname = current_database()))",
                    (ADVISORY_LOCK,),
                ).fetchone()
                raise UsageError(
                    f"the database {self.name} is in use by another coordinator "
                    f"({holder[0] if holder else 'unknown'}); stop that one, or use it instead"
                )
            time.sleep(0.05)

    def _migrate(self) -> None:
        runner = Runner(self.database, str(MIGRATIONS))
        unknown = [migration.name for migration in runner.status() if migration.path is None]
        if unknown:
            raise DatabaseRefused(
                f"the database {self.name} was written by a newer Longshore (it has the schema change "
                f"{unknown[-1]!r}); use that version or a newer one, or another database"
            )
        runner.up()

    def _check_tables(self) -> None:
        if isinstance(self.database, peewee.SqliteDatabase):
            found = self.database.execute_sql("PRAGMA quick_check(1)").fetchone()[0]
            if found != "ok":
                raise DatabaseRefused(self._damaged(found))
        for table in TABLES:  # in plain SQL, which peewee would take 4 ms to build
            name = f'"{table._meta.table_name}"'
            columns = ", ".join(f'{name}."{field.column_name}"' for field in table._meta.sorted_fields)
            self.database.execute_sql(f"SELECT {columns} FROM {name} LIMIT 0")

    def _damaged(self, why: object) -> str:
        return f"the database {self.name} is damaged ({why}); restore it from a backup, or move it away to start anew"

    def refusal(self, error: Exception) -> DatabaseRefused:
        """What to tell the user about an error that keeps the coordinator from starting."""
        why = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        if not self._reached and "malformed" not in why:
            return DatabaseRefused(f"can't open the database {self.name}: {why}")
        return DatabaseRefused(self._damaged(why))

    def reconnect(self) -> None:
        """Replaces a connection that may be broken. Raises what the driver raises if there is none to be had."""
        if not self.database.is_closed():
            self.database.close()
        self._connect()

    def close(self) -> None:
        """Lets the database go. No error if it was never reached."""
        if not self.database.is_closed():
            self.database.close()
        if self._file_lock is not None:
            self._file_lock.release()
            self._file_lock = None


def open_database(url: str) -> peewee.Database:
    """peewee's database for a URL, not yet connected; its connection is shared by all threads."""
    scheme, host, path, query, _ = urlsplit(url)
    options: dict[str, Any] = {"thread_safe": False, "autoconnect": False}
    if scheme == "sqlite":
        if host or query or len(path) < 2:
            raise bad_url(url, "it has three slashes before the path of a file, and nothing after it")
        options |= {"pragmas": SQLITE_PRAGMAS, "lock_type": "IMMEDIATE", "check_same_thread": False}
        return peewee.SqliteDatabase(unquote(path[1:]), **options)
    if scheme not in ("postgres", "postgresql"):
        raise bad_url(url, "only SQLite and PostgreSQL keep what a coordinator writes")
    from playhouse import db_url  # brings all kinds of databases, which a process with an SQLite file does without

    options["application_name"] = f"longshore coordinator, process {os.getpid()} on {socket.gethostname()}"
    try:
        given = db_url.parse(url)
        options |= {key: value for key, value in POSTGRES_DEFAULTS.items() if key not in given}
        database: peewee.Database = db_url.connect(url, unquote_password=True, unquote_user=True, **options)
    except ValueError as error:
        raise bad_url(url, error) from error
    return database


def bad_url(url: str, why: object) -> UsageError:
    """What to tell the user about a URL that can't be one."""
    return UsageError(
        f"bad database URL {_without_password(url)!r}: {why}; give sqlite:////PATH/TO/FILE or "
        "postgresql://USER:PASSWORD@HOST:PORT/NAME"
    )


def _without_password(url: str) -> str:
    """The URL as it may be shown."""
    password = urlsplit(url).password
    return url.replace(f":{password}@", ":***@", 1) if password else url


def sqlite_url(path: Path) -> str:
    """The URL of an SQLite file."""
    return f"sqlite:///{quote(str(path.absolute()))}"
