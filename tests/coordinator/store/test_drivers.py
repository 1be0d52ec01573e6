"""Drivers that are not wanted are not imported, and no process is left without the one that it needs."""

from __future__ import annotations

import subprocess
import sys


def output(code: str) -> str:
    """What a fresh Python prints."""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_a_process_with_an_sqlite_file_has_no_postgres_driver_in_it() -> None:
    code = (
        "import sys; from coordinator.store.drivers import only_sqlite; only_sqlite(); import coordinator.server; "
        "print('peewee' in sys.modules, any(name.startswith('psycopg') for name in sys.modules))"
    )
    assert output(code) == "True False"


def test_where_peewee_is_there_already_its_drivers_stay() -> None:
    code = (
        "import peewee; from coordinator.store.drivers import only_sqlite; only_sqlite(); "
        "import psycopg; print(peewee.psycopg is psycopg)"
    )
    assert output(code) == "True"


def test_a_driver_that_was_hidden_from_peewee_can_still_be_imported() -> None:
    code = (
        "import coordinator.store.drivers as d; d.only_sqlite(); import peewee, psycopg; "
        "print(peewee.psycopg is None, psycopg.__name__)"
    )
    assert output(code) == "True psycopg"


def test_an_embedded_run_imports_no_postgres_driver() -> None:
    code = (
        "import sys, tempfile, pathlib; from cli.session import session; from cli.session.state_directory import "
        "StateDirectory; state = StateDirectory(pathlib.Path(tempfile.mkdtemp())); assert state.try_lock(); "
        "s = session.ReadingSession(state); s.close(); "
        "print('peewee' in sys.modules, any(name.startswith('psycopg') for name in sys.modules))"
    )
    assert output(code) == "True False"


def test_what_the_command_line_needs_before_it_knows_the_database_does_not_import_peewee() -> None:
    code = (
        "import sys, cli.commands.coordinator, cli.options.serving, cli.process.log_setup, "
        "cli.session.state_directory, coordinator.maintenance.retention; print('peewee' in sys.modules)"
    )
    assert output(code) == "False"
