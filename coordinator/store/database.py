"""Opens a coordinator's database: connects, locks, migrates, and refuses a damaged or newer one.

The differences between SQLite and PostgreSQL are confined to this module.
"""

from __future__ import annotations

import os
import re
import socket
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import peewee
from playhouse.migrations import Runner

from coordinator.files.owner_lock import Lock
from coordinator.store.models import TABLES
from coordinator.store.term import KEY, Term
from protocol.errors import LongshoreError, UsageError
from protocol.files import PRIVATE_FILE

MIGRATIONS = Path(__file__).parent / "migrations"
SQLITE_PRAGMAS = {
    "journal_mode": "wal",
    "synchronous": "full",
    "foreign_keys": 1,
    "busy_timeout": 5000,
    "journal_size_limit": 64 << 20,
    "wal_autocheckpoint": 16_000,  # pages, also 64 MB: a commit that checkpoints takes ten times as long
}
POSTGRES_DEFAULTS: dict[str, Any] = {
    "connect_timeout": 5,
    "tcp_user_timeout": 15_000,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 2,
}
"""An unresponsive database must become an error in bounded time, as the coordinator is single-threaded."""
POSTGRES_SESSION = {
    "statement_timeout": "30000",
    "idle_in_transaction_session_timeout": "30000",
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "2",
    "tcp_user_timeout": "15000",
}
"""The server's timeouts for this session. By the system's defaults it would keep a dead host's lock for two hours. Set
by a statement, as poolers refuse most startup parameters."""
HOST_GONE_AFTER = 20
"""Seconds after which, by `POSTGRES_SESSION`, the server drops a dead host's connection."""
CHOSEN_BY_THE_OPERATOR = ("client", "database", "user", "database user")
"""Sources of a setting that ours do not override: the URL's `options`, ALTER DATABASE, ALTER ROLE."""
ADVISORY_LOCK = 0x6C6F6E6773686F72
"""Number of the advisory lock that a database's coordinator holds on PostgreSQL; arbitrary, but unique to Longshore."""
LOCK_RETRY_FOR = 2.0
"""Seconds within which PostgreSQL notices the closed connection of a killed coordinator."""
PASSWORDS = re.compile(r"(//[^/?#@:]*:)[^/?#]*(?=@)|([?&](?:ssl)?password=)[^&]*")


class DatabaseRefused(LongshoreError):
    """The database can't be used in its current state; the message explains why, and the remedy."""

    exit_status = 2


class Connection:
    """An open, migrated and exclusively owned database. Used by one thread at a time, but not bound to one."""

    def __init__(self, url: str) -> None:
        self.name = _without_password(url)
        self.database = open_database(url)
        self._file_lock: Lock | None = None
        self._reached = False
        self._read_term = f'SELECT "value" FROM "meta" WHERE "key" = {self.database.param}'
        if isinstance(self.database, peewee.PostgresqlDatabase):
            self._read_term += " FOR SHARE"  # no other coordinator can begin a term before this transaction ends
        path = self._sqlite_path()
        try:
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch(PRIVATE_FILE)  # SQLite gives its other files the same mode
                self._file_lock = Lock(path.with_name(path.name + ".lock"), f"the database {path}")
            self._connect()
            self._reached = True
            self._migrate()
            self._check_tables()
            self._term = self._begin_term()
        except (peewee.PeeweeException, OSError, TypeError) as error:  # TypeError: an option unknown to the driver
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
        connect(self.database)
        if isinstance(self.database, peewee.PostgresqlDatabase):
            deadline = time.monotonic() + LOCK_RETRY_FOR
            while not self._try_advisory_lock():
                if time.monotonic() > deadline:
                    raise UsageError(
                        f"the database {self.name} is in use by another coordinator ({self._lock_holder()}); stop that "
                        "one, or use it instead. If its host is gone, the database releases its lock within "
                        f"{HOST_GONE_AFTER} s"
                    )
                time.sleep(0.05)

    def _try_advisory_lock(self) -> bool:
        return bool(self.database.execute_sql("SELECT pg_try_advisory_lock(%s)", (ADVISORY_LOCK,)).fetchone()[0])

    def _lock_holder(self) -> str:
        holder = self.database.execute_sql(
            "SELECT application_name FROM pg_stat_activity WHERE pid IN (SELECT pid FROM pg_locks WHERE "
            "locktype = 'advisory' AND granted AND (classid::bigint << 32 | objid::bigint) = %s AND database = "
            "(SELECT oid FROM pg_database WHERE datname = current_database()))",
            (ADVISORY_LOCK,),
        ).fetchone()
        return str(holder[0]) if holder else "unknown"

    # the term

    def _begin_term(self) -> Term:
        """Begins a new term, which ends the previous owner's."""
        if isinstance(self.database, peewee.SqliteDatabase):  # not durable: no owner survives a power cut
            self.database.execute_sql("PRAGMA synchronous = normal")
            term = self._write_term()
            self.database.execute_sql(f"PRAGMA synchronous = {SQLITE_PRAGMAS['synchronous']}")
            return term
        return self._write_term()

    def _write_term(self) -> Term:
        with self.database.atomic():
            term = Term.after(self._stored_term(), _this_process())
            self.database.execute_sql(
                f'INSERT INTO "meta" ("key", "value") VALUES ({self.database.param}, {self.database.param}) '
                'ON CONFLICT ("key") DO UPDATE SET "value" = excluded."value"',
                (KEY, str(term)),
            )
        return term

    def _stored_term(self) -> str | None:
        row = self.database.execute_sql(self._read_term, (KEY,)).fetchone()
        return str(row[0]) if row else None

    def check_term(self) -> None:
        """Verifies that the database is still ours; within a transaction, until its end. Raises Superseded."""
        stored = self._stored_term()
        if stored != str(self._term):
            raise self._term.superseded(self.name, stored)

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
        for table in TABLES:  # plain SQL: peewee would take 4 ms to build it
            name = f'"{table._meta.table_name}"'
            columns = ", ".join(f'{name}."{field.column_name}"' for field in table._meta.sorted_fields)
            self.database.execute_sql(f"SELECT {columns} FROM {name} LIMIT 0")

    def _damaged(self, why: object) -> str:
        return f"the database {self.name} is damaged ({why}); restore it from a backup, or move it away to start anew"

    def refusal(self, error: Exception) -> DatabaseRefused:
        """The user-facing error for an exception during the start."""
        why = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        if not self._reached and "malformed" not in why:
            return DatabaseRefused(f"can't open the database {self.name}: {why}")
        return DatabaseRefused(self._damaged(why))

    def reconnect(self) -> None:
        """Replaces a connection that may be broken.

        Raises Superseded if another coordinator has taken the database meanwhile, or the driver's error if it can't
        connect.
        """
        if not self.database.is_closed():
            self.database.close()
        connect(self.database)
        self.check_term()
        if isinstance(self.database, peewee.PostgresqlDatabase) and not self._try_advisory_lock():
            raise peewee.OperationalError(f"the database's lock is still held by {self._lock_holder()}")

    def close(self) -> None:
        """Closes the connection and releases the lock. No error if the database was never reached."""
        if not self.database.is_closed():
            self.database.close()
        if self._file_lock is not None:
            self._file_lock.release()
            self._file_lock = None


def open_database(url: str) -> peewee.Database:
    """The peewee database of a URL, not connected yet (see `connect`); its connection is shared by all threads."""
    try:
        scheme, host, path, query, _ = urlsplit(url)
    except ValueError as error:
        raise bad_url(url, error) from error
    options: dict[str, Any] = {"thread_safe": False, "autoconnect": False}
    if scheme == "sqlite":
        if host or query or len(path) < 2:
            raise bad_url(url, "an SQLite URL has three slashes, the path of a file, and nothing else")
        options |= {"pragmas": SQLITE_PRAGMAS, "lock_type": "IMMEDIATE", "check_same_thread": False}
        return peewee.SqliteDatabase(unquote(path[1:]), **options)
    if scheme not in ("postgres", "postgresql"):
        raise bad_url(url, "only SQLite and PostgreSQL are supported")
    given = _postgres_options(url)
    defaults = {"application_name": f"longshore coordinator, {_this_process()}", **POSTGRES_DEFAULTS}
    options |= {key: value for key, value in defaults.items() if key not in given}
    return peewee.PostgresqlDatabase("postgresql" + url[len(scheme) :], prefer_psycopg3=True, **options)


def _postgres_options(url: str) -> dict[str, Any]:
    """The options in a PostgreSQL URL, which may name several hosts. Raises UsageError for a bad one."""
    try:  # imported late: a process with an SQLite file does not need the driver
        import psycopg
        from psycopg.conninfo import conninfo_to_dict
    except ImportError:
        raise UsageError("PostgreSQL needs a driver that is not installed: pip install 'longshore[postgres]'") from None
    try:
        given = dict(conninfo_to_dict(url))
    except psycopg.Error as error:
        raise bad_url(url, str(error).strip()) from error
    if not given.get("dbname"):
        raise bad_url(url, "it has no database name")
    if bad := [port for port in str(given.get("port") or "").split(",") if port and not port.isdecimal()]:
        raise bad_url(url, f"{bad[0]!r} is no port")
    return given


def connect(database: peewee.Database) -> None:
    """Opens the connection and sets the session's timeouts. Raises the driver's errors."""
    database.connect()
    if isinstance(database, peewee.PostgresqlDatabase):
        values = ", ".join(["(%s, %s)"] * len(POSTGRES_SESSION))
        sources = ", ".join(["%s"] * len(CHOSEN_BY_THE_OPERATOR))
        database.execute_sql(
            f"SELECT set_config(name, wanted.value, false) FROM (VALUES {values}) AS wanted (name, value) "
            f"JOIN pg_settings USING (name) WHERE source NOT IN ({sources})",  # a server may not know all of them
            (*[part for item in POSTGRES_SESSION.items() for part in item], *CHOSEN_BY_THE_OPERATOR),
        )


def bad_url(url: str, why: object) -> UsageError:
    """The error for an unusable database URL."""
    return UsageError(
        f"bad database URL {_without_password(url)!r}: {why}; give sqlite:////PATH/TO/FILE or "
        "postgresql://USER:PASSWORD@HOST:PORT/NAME"
    )


def _without_password(url: str) -> str:
    """The URL with passwords replaced by asterisks."""
    return PASSWORDS.sub(lambda found: f"{found[1] or found[2]}***", url)


def _this_process() -> str:
    return f"process {os.getpid()} on {socket.gethostname()}"


def sqlite_url(path: Path) -> str:
    """The URL of an SQLite file."""
    return f"sqlite:///{quote(str(path.absolute()))}"
