"""Garbage collection by age and size: old finished runs, their logs, artifacts and workspaces.

A thread scans and deletes files, with its own read-only database connection. It leaves removing runs and blobs to the
coordinator's loop, one request at a time: only the loop knows which runs are unfinished and which blobs a client is
about to use.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Empty, SimpleQueue

from coordinator.maintenance.retention import Retention
from coordinator.security.quota import Counted
from coordinator.store.reader import Reader

RUNS_AT_ONCE = 10
"""Runs removed for size before usage is measured again."""
PARTIAL_FOR = 86_400.0
"""Seconds for which a partial upload is kept after its last byte."""
FIRST_AFTER = 60.0
"""Seconds from the start to the first pass, which must not slow down the start."""

log = logging.getLogger(__name__)


class Housekeeper:
    """The garbage collector's thread. `wake` wakes the coordinator's loop to check `wanted`.

    `logs` and `blobs` are the directories of LogStore and BlobStore.
    """

    def __init__(
        self, retention: Retention, database_url: str, logs: Path, blobs: Path, wake: Callable[[], None]
    ) -> None:
        self._retention = retention
        self._url = database_url
        self._logs = logs
        self._blobs = blobs
        self._wake = wake
        self.counted = Counted(0.0, {}, set())  # by the last pass
        self._wanted: SimpleQueue[int | str] = SimpleQueue()
        self._answers: SimpleQueue[bool] = SimpleQueue()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="housekeeping", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ends the thread; a running pass stops early."""
        self._stop.set()
        self._thread.join()

    # the coordinator's loop

    def wanted(self) -> int | str | None:
        """The next run (id) or blob (digest) to remove, if any. The loop replies to each with `answered`."""
        try:
            return self._wanted.get_nowait()
        except Empty:
            return None

    def answered(self, done: bool) -> None:
        """Reports whether the run or blob was removed."""
        self._answers.put(done)

    # the thread

    def _run(self) -> None:
        wait = min(FIRST_AFTER, self._retention.every)
        while not self._stop.wait(wait):
            try:
                self.look()
            except Exception:
                log.exception("housekeeping failed; retrying in %.0f s", self._retention.every)
            wait = self._retention.every

    def look(self) -> None:
        """One pass over everything."""
        with Reader(self._url) as reader:
            now = time.time()
            if self._retention.runs_for is not None:
                for run in reader.finished_runs(before=now - self._retention.runs_for):
                    if self._stop.is_set():
                        return
                    self._ask(run)
            used = self._tidy(reader, now)
            while self._retention.size is not None and used > self._retention.size and not self._stop.is_set():
                removed = [self._ask(run) for run in reader.finished_runs(before=now, limit=RUNS_AT_ONCE)]
                if not any(removed):
                    log.warning(
                        "%d bytes in use after removing all finished runs, above the limit of %d",
                        used,
                        self._retention.size,
                    )
                    return
                used = self._tidy(reader, now)

    def _tidy(self, reader: Reader, now: float) -> int:
        """Deletes unreferenced files. Returns the total size of the referenced ones."""
        return self._tidy_logs(reader) + self._tidy_blobs(reader, now)

    def _ask(self, what: int | str) -> bool:
        """Has the loop remove a run or blob; False if it refuses, or the thread is ending."""
        self._wanted.put(what)
        self._wake()
        while not self._stop.is_set():
            try:
                return self._answers.get(timeout=0.1)
            except Empty:
                continue
        return False

    def _tidy_logs(self, reader: Reader) -> int:
        """Deletes logs of jobs without a run, one directory (a range of job ids) at a time.

        A job is in the database long before its log exists, so querying jobs after listing the files is safe.
        """
        used = 0
        for directory in _directories(self._logs):
            if not directory.name.isdecimal():
                continue
            files = list(_files(directory))
            jobs = {int(name.partition(".")[0]) for name, _ in files if name.partition(".")[0].isdecimal()}
            known = reader.known_jobs(min(jobs), max(jobs)) if jobs else set()
            for name, status in files:
                job = name.partition(".")[0]
                if job.isdecimal() and int(job) not in known:
                    (directory / name).unlink(missing_ok=True)
                else:
                    used += status.st_size
        return used

    def _tidy_blobs(self, reader: Reader, now: float) -> int:
        used = 0
        artifacts_before = None if self._retention.artifacts_for is None else now - self._retention.artifacts_for
        began = time.monotonic()
        by_project: Counter[str] = Counter()
        needed = reader.needed_blobs(now, artifacts_before)
        for directory in _directories(self._blobs):
            for name, status in _files(directory):
                if directory.name == "partial":
                    if time.time() - status.st_mtime > PARTIAL_FOR:
                        (directory / name).unlink(missing_ok=True)
                elif directory.name == "trash":
                    (directory / name).unlink(missing_ok=True)
                elif name in needed:
                    used += status.st_size
                    by_project[needed[name]] += status.st_size
                elif time.time() - status.st_mtime > self._retention.young and not self._stop.is_set():
                    self._ask(name)
        self.counted = Counted(began, by_project, set(needed))
        for name, _ in _files(self._blobs / "trash"):
            (self._blobs / "trash" / name).unlink(missing_ok=True)
        return used


def _directories(directory: Path) -> Iterator[Path]:
    yield from sorted(path for path in directory.iterdir() if path.is_dir())


def _files(directory: Path) -> Iterator[tuple[str, os.stat_result]]:
    if directory.is_dir():
        with os.scandir(directory) as entries:
            for entry in entries:
                try:
                    status = entry.stat()
                except FileNotFoundError:  # the loop has moved or removed it meanwhile
                    continue
                yield entry.name, status
