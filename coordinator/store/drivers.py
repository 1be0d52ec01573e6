"""Keeps peewee from importing unused database drivers. Imports nothing itself."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import cast

OTHERS = ("psycopg2", "psycopg", "psycopg2cffi", "pymysql", "MySQLdb")


def only_sqlite() -> None:
    """Imports peewee without the other installed drivers, for a process that only uses SQLite.

    PostgreSQL's alone takes 0.1 s and 15 MB. Afterwards this process can't open any other database; no effect if peewee
    was imported before.
    """
    if "peewee" in sys.modules:
        return
    hidden = [name for name in OTHERS if name not in sys.modules]
    for name in hidden:
        sys.modules[name] = cast(ModuleType, None)  # makes importing the module fail
    try:
        import playhouse.migrations  # noqa: F401 (imports peewee, and everything in it that looks for drivers)
    finally:
        for name in hidden:
            del sys.modules[name]
