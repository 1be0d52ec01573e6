"""File locks: one exclusive holder or several shared ones, until their descriptors are closed."""

from __future__ import annotations

from pathlib import Path

from protocol.file_lock import try_lock


def test_a_held_lock_is_free_again_when_its_file_is_closed(tmp_path: Path) -> None:
    with (tmp_path / "lock").open("a") as first, (tmp_path / "lock").open("a") as second:
        assert try_lock(first.fileno())
        assert not try_lock(second.fileno())
        first.close()
        assert try_lock(second.fileno())


def test_readers_share_a_lock_that_no_writer_gets_meanwhile(tmp_path: Path) -> None:
    (tmp_path / "lock").touch()
    with (tmp_path / "lock").open() as first, (tmp_path / "lock").open() as second, (tmp_path / "lock").open() as third:
        assert try_lock(first.fileno(), shared=True)
        assert try_lock(second.fileno(), shared=True)
        assert not try_lock(third.fileno())
