"""A database is opened only when it is ours, whole and of this version; every refusal is one clear line."""

from __future__ import annotations

import os
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import peewee
import pytest
from playhouse import db_url

from coordinator.engine.effects import Turn
from coordinator.engine.state import WorkerState
from coordinator.store.database import DatabaseRefused, sqlite_url
from coordinator.store.models import TABLES, Meta
from coordinator.store.store import Store
from coordinator.store.term import Superseded
from protocol.errors import UsageError
from tests.support.eventually import eventually
from tests.support.postgres import Cluster

HOLD = """
import sys
from coordinator.store.store import Store
store = Store(sys.argv[1])
print("open", flush=True)
sys.stdin.read()
"""


def hold_elsewhere(url: str) -> subprocess.Popen[str]:
    """Another process that has the database open."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "open\n"
    return process


def refusal(url: str) -> str:
    """What one is told who opens this database."""
    with pytest.raises((DatabaseRefused, UsageError)) as caught:
        Store(url)
    assert caught.value.exit_status == 2
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_sqlite_is_durable_and_keeps_references(tmp_path: Path) -> None:
    store = Store(sqlite_url(tmp_path / "longshore.db"))
    assert isinstance(store._database, peewee.SqliteDatabase)
    pragma = {name: store._database.pragma(name) for name in ("journal_mode", "synchronous", "foreign_keys")}
    store.close()
    assert pragma == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}


def schema(database: peewee.Database) -> dict[str, object]:
    """Columns and indexes of all tables, in a comparable form."""
    return {
        table._meta.table_name: (
            [(c.name, c.data_type, c.null, c.primary_key) for c in database.get_columns(table._meta.table_name)],
            sorted((i.name, i.columns, i.unique) for i in database.get_indexes(table._meta.table_name)),
            sorted((k.column, k.dest_table, k.dest_column) for k in database.get_foreign_keys(table._meta.table_name)),
        )
        for table in TABLES
    }


def test_the_migrations_make_what_the_models_say(new_database: Callable[[], str]) -> None:
    migrated = Store(new_database())
    direct = db_url.connect(new_database())
    with direct.bind_ctx(TABLES):
        direct.create_tables(TABLES)
    assert schema(migrated._database) == schema(direct)
    direct.close()
    migrated.close()


def test_a_second_coordinator_is_refused_and_told_who_has_it(database_url: str) -> None:
    process = hold_elsewhere(database_url)
    try:
        message = refusal(database_url)
        assert f"process {process.pid}" in message
        assert "in use by another coordinator" in message
    finally:
        process.kill()
        process.wait()
    Store(database_url).close()  # the killed one does not stand in the way


def test_a_database_of_a_newer_version_is_refused(database_url: str) -> None:
    store = Store(database_url)
    store._database.execute_sql(
        "INSERT INTO schema_migration (name, applied) VALUES ('9999_from_the_future', '2030-01-01 00:00:00')"
    )
    store.close()
    message = refusal(database_url)
    assert "newer Longshore" in message
    assert "9999_from_the_future" in message


def test_a_database_that_lacks_a_column_is_refused(database_url: str) -> None:
    store = Store(database_url)
    store._database.execute_sql("ALTER TABLE job DROP COLUMN message")
    store.close()
    assert "damaged" in refusal(database_url)


def test_a_worker_whose_row_makes_no_sense_is_told_of_and_left_out(
    database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    store = Store(database_url)
    store.write_turn(Turn(workers=[WorkerState(name="w"), WorkerState(name="x")]))
    store._database.execute_sql("UPDATE worker SET labels_json = '{broken' WHERE name = 'w'")
    assert [worker.name for worker in store.load_unfinished()[1]] == ["x"]
    assert "worker w can't be read" in caplog.text
    store.close()


@pytest.mark.parametrize(
    "content", [b"this is no database\n" * 500, b"\x89PNG\r\n\x1a\n" + bytes(4096)], ids=["text", "picture"]
)
def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "longshore.db"
    path.write_bytes(content)
    assert "not a database" in refusal(sqlite_url(path))
    assert path.read_bytes() == content


def test_a_torn_sqlite_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "longshore.db"
    Store(sqlite_url(path)).close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    data = bytearray(path.read_bytes())
    for page in range(1, len(data) // 4096):
        data[page * 4096 : page * 4096 + 64] = os.urandom(64)
    path.write_bytes(data)
    assert "damaged" in refusal(sqlite_url(path))


@pytest.mark.parametrize(
    ("url", "part"),
    [
        ("mysql://host/name", "only SQLite and PostgreSQL"),
        ("sqlite:///", "path of a file"),
        ("postgresql://host:port/name", "bad database URL"),
        ("postgresql://host", "database name"),
        ("sqlite://name", "three slashes"),
        ("just a name", "sqlite:////"),
        ("postgresql://nobody@127.0.0.1:1/none", "can't open"),
        ("postgresql://u:secret@127.0.0.1:1/none", "u:***@"),
        ("sqlite:////dev/null/longshore.db", "can't open"),
        ("postgresql://u@127.0.0.1:1/none?password=secret", "password=***"),
        ("postgresql://u:secret@127.0.0.1:1,127.0.0.1:2/none", "can't open"),
        ("postgresql://127.0.0.1:1,127.0.0.1:two/none", "'two' is no port"),
        ("postgresql://[127.0.0.1/none", "bad database URL"),
        ("postgresql://127.0.0.1/none?no_such_option=1", "no_such_option"),
    ],
)
def test_a_url_that_leads_nowhere_is_one_clear_line(url: str, part: str) -> None:
    message = refusal(url)
    assert part in message
    assert "secret" not in message


def test_a_path_may_have_any_characters(tmp_path: Path) -> None:
    path = tmp_path / "a b?c#d%20\N{SNOWMAN}" / "longshore.db"
    Store(sqlite_url(path)).close()
    assert path.exists()


def test_of_several_hosts_the_one_that_answers_is_used(postgres: Cluster) -> None:
    url = postgres.new_database().replace("@127.0.0.1:", "@127.0.0.1:1,127.0.0.1:")
    store = Store(url)
    assert store.coordinator_id
    store.close()


def shown(store: Store, *settings: str) -> list[str]:
    """What the server says of a store's session."""
    return [store._database.execute_sql(f"SHOW {name}").fetchone()[0] for name in settings]


def test_the_server_lets_go_of_a_host_that_is_gone_and_the_operator_may_choose_when(postgres: Cluster) -> None:
    names = ("statement_timeout", "tcp_keepalives_idle", "tcp_user_timeout", "idle_in_transaction_session_timeout")
    url = postgres.new_database()
    store = Store(url)
    assert shown(store, *names) == ["30s", "10", "15000", "30s"]
    store.close()
    store = Store(f"{url}?options=-c%20statement_timeout%3D7s")
    assert shown(store, *names) == ["7s", "10", "15000", "30s"]
    store.close()


def test_each_coordinator_of_a_database_has_a_term_of_its_own(database_url: str) -> None:
    terms = []
    for _ in range(2):
        store = Store(database_url)
        terms += [value for key, value in store.all(Meta.select()) if key == "term"]
        store.close()
    assert [term.split(" ")[0] for term in terms] == ["1", "2"]
    assert all(term.endswith(f"process {os.getpid()} on {socket.gethostname()}") for term in terms)


def test_a_term_that_makes_no_sense_stands_in_nobody_s_way(database_url: str) -> None:
    store = Store(database_url)
    store._database.execute_sql("UPDATE meta SET value = 'nonsense' WHERE key = 'term'")
    with pytest.raises(Superseded):
        store.write_turn(Turn(workers=[WorkerState(name="w")]))
    store.close()
    store = Store(database_url)
    store.write_turn(Turn(workers=[WorkerState(name="w")]))
    store.close()


def test_the_store_comes_back_with_its_postgres(postgres: Cluster) -> None:
    store = Store(postgres.new_database())
    turn = Turn(workers=[WorkerState(name="w")])
    postgres.stop()
    try:
        with pytest.raises(Exception, match=r"(?i)connect|terminat|closed"):
            store.write_turn(turn)
        with pytest.raises(peewee.PeeweeException):
            store.list_runs(1)
    finally:
        postgres.start()

    def write() -> peewee.PeeweeException | None:
        try:
            store.write_turn(turn)
        except peewee.PeeweeException as error:
            return error
        return None

    eventually(write, so=lambda error: error is None)
    assert [worker.name for worker in store.load_unfinished()[1]] == ["w"]
    store.close()
