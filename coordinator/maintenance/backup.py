"""Hot backup of a coordinator's state directory: a crash-consistent copy, made while it is in use.

The database is copied first, as one transaction sees it. The files that it refers to exist by then and only grow (logs)
or stay unchanged (blobs), so files copied afterwards contain everything that it refers to.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from protocol.errors import LongshoreError, UsageError

DATABASE = "longshore.db"
LEFT_OUT = frozenset({"worker", "partial", "trash", "coordinator.json"})
"""Directories and files that only matter to running processes: caches, partial uploads, addresses."""
LEFT_OUT_ENDINGS = (".lock", ".part", "-wal", "-shm")


@dataclass(slots=True)
class Copied:
    """The contents of a backup, counted."""

    runs: int = 0
    files: int = 0
    size: int = 0


def back_up(state: Path, destination: Path) -> Copied:
    """Copies the state directory to `destination`, which must not exist yet; a failed copy is removed.

    Raises UsageError for a bad source or destination, LongshoreError if copying fails.
    """
    if not (state / DATABASE).is_file():
        raise UsageError(f"{state} has no {DATABASE}: is it a coordinator's state directory (LONGSHORE_STATE)?")
    if destination.exists():
        raise UsageError(f"{destination} already exists; a backup creates a new directory")
    if destination.absolute().is_relative_to(state.absolute()):
        raise UsageError(f"{destination} is within {state}, the directory to copy")
    partial = destination.with_name(f"{destination.name}.part")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True, mode=0o700)
        copied = Copied()
        _copy_database(state / DATABASE, partial / DATABASE, copied)
        for path in _files(state):
            _copy_file(path, partial / path.relative_to(state), copied)
        partial.rename(destination)
    except (OSError, sqlite3.Error) as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise LongshoreError(f"the backup to {destination} failed: {error}") from error
    return copied


def _copy_database(source: Path, target: Path, copied: Copied) -> None:
    url = f"{source.absolute().as_uri()}?mode=ro"
    with closing(sqlite3.connect(url, uri=True)) as rows, closing(sqlite3.connect(target)) as copy:
        rows.backup(copy)
        copied.runs = int(copy.execute("SELECT count(*) FROM run").fetchone()[0])
    _sync(target)
    copied.files += 1
    copied.size += target.stat().st_size


def _files(state: Path) -> Iterator[Path]:
    for folder, directories, names in os.walk(state):
        directories[:] = [name for name in directories if name not in LEFT_OUT]
        for name in names:
            kept = name not in LEFT_OUT and not name.endswith(LEFT_OUT_ENDINGS) and name != DATABASE
            if kept and not name.startswith("journal-"):
                yield Path(folder) / name


def _copy_file(source: Path, target: Path, copied: Copied) -> None:
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        shutil.copy2(source, target, follow_symlinks=False)
    except FileNotFoundError:
        return  # belonged to a run that retention has removed meanwhile
    if not target.is_symlink():
        _sync(target)
        copied.size += target.stat().st_size
    copied.files += 1


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
