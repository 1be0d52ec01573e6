"""Eviction: expired entries go, then the least recently used ones, and never what is in use."""

from __future__ import annotations

from pathlib import Path

from daemon.runtime.eviction import Entry, evict


def entries(directory: Path, *used: float, in_use: frozenset[float] = frozenset()) -> list[Entry]:
    """Files of 10 bytes each, named by their last use, newest first."""
    found = []
    for at in sorted(used, reverse=True):
        path = directory / f"{at:g}"
        path.write_bytes(bytes(10))
        found.append(Entry(at, 10, path, at in in_use))
    return found


def left(directory: Path) -> list[str]:
    """The names of the files that are left."""
    return sorted(path.name for path in directory.iterdir())


def test_within_the_limit_only_expired_entries_go(tmp_path: Path) -> None:
    assert evict(entries(tmp_path, 1, 2, 3), limit=30, before=2) == 20
    assert left(tmp_path) == ["2", "3"]


def test_above_the_limit_the_least_recently_used_go_until_there_is_room(tmp_path: Path) -> None:
    assert evict(entries(tmp_path, 1, 2, 3, 4, 5), limit=40) == 30
    assert left(tmp_path) == ["3", "4", "5"]


def test_expired_entries_may_be_room_enough(tmp_path: Path) -> None:
    assert evict(entries(tmp_path, 1, 2, 3, 4, 5), limit=40, before=2) == 40
    assert left(tmp_path) == ["2", "3", "4", "5"]


def test_an_entry_in_use_stays_and_counts(tmp_path: Path) -> None:
    assert evict(entries(tmp_path, 1, 2, 3, in_use=frozenset({1.0, 3.0})), limit=15, before=2) == 20
    assert left(tmp_path) == ["1", "3"]


def test_a_directory_in_an_entry_s_place_stays_and_counts(tmp_path: Path) -> None:
    odd = tmp_path / "odd"
    odd.mkdir()
    assert evict([Entry(1, 10, odd), *entries(tmp_path, 2, 3)], limit=25) == 20
    assert left(tmp_path) == ["3", "odd"]
