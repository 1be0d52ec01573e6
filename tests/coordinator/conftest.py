"""What the coordinator's tests share: a PostgreSQL of their own, and both databases to try the store on."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from coordinator.store.database import sqlite_url
from tests.support.postgres import Cluster, programs


@pytest.fixture(scope="session")
def postgres() -> Iterator[Cluster]:
    """A real PostgreSQL; skips where there is none."""
    if (found := programs()) is None:
        pytest.skip("needs PostgreSQL: apt-get install postgresql")
    cluster = Cluster(found)
    yield cluster
    cluster.remove()


@pytest.fixture(params=["sqlite", "postgres"])
def new_database(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], str]:
    """Makes empty databases of either kind."""
    if request.param == "postgres":
        cluster: Cluster = request.getfixturevalue("postgres")
        return cluster.new_database
    names = itertools.count(1)
    return lambda: sqlite_url(tmp_path / f"longshore{next(names)}.db")


@pytest.fixture
def database_url(new_database: Callable[[], str]) -> str:
    """An empty database of either kind."""
    return new_database()
