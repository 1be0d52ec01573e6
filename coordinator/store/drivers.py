"""Keeps peewee from importing drivers of databases that nobody asked for. Imports nothing itself."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import cast

OTHERS = ("psycopg2", "psycopg", "psycopg2cffi", "pymysql", "MySQLdb")


def only_sqlite() -> None:
    """For a process whose database is SQLite: has peewee imported without the other drivers that are installed.

    PostgreSQL's alone takes 0.1 s and 15 MB. From then on this process can open no other database; if peewee was
    imported before, nothing changes.
    """
    if "peewee" in sys.modules:
        return
    hidden = [name for name in OTHERS if name not in sys.modules]
    for name in hidden:
        sys.modules[name] = cast(ModuleType, None)  # how Python is told that a module can't be imported
    try:
        import playhouse.migrations  # noqa: F401 (peewee, and all in it that looks for drivers)
    finally:
        for name in hidden:
            del sys.modules[name]
