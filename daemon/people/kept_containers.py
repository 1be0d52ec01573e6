"""Containers of ended jobs that stay for a while, for people to look at.

Each has a note on this host, for the next daemon: what `run_command` needs (the assignment, with its secrets, hence
readable by this user only), and the time until which it is kept. A note precedes the report that the container is kept.
Knows no engine.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from threading import Lock

import msgspec

from daemon.executors.base import Executor, Found, Sandbox
from daemon.runtime.thread_pool import run_in_background
from protocol.clock import monotonic_of, reading
from protocol.decoders import from_msgpack
from protocol.messages import Assignment, KeptAttempt
from protocol.names import ATTEMPT_ID

SUFFIX = ".kept"
TRY_AGAIN = 30.0
"""Seconds until a failed removal is tried again."""

logger = logging.getLogger(__name__)


class Note(msgspec.Struct, frozen=True):
    """A kept container's note: until so many seconds after the time `since` (see `protocol.clock`)."""

    since: str
    seconds: float
    assignment: Assignment


class _Kept(msgspec.Struct):
    until: float  # monotonic
    assignment: Assignment
    sandbox: Sandbox | None = None  # of this process; else made on demand
    going: bool = False  # its removal is under way


class KeptContainers:
    """This worker's kept containers; thread-safe. `directory` has their notes; `changed` is called, from any thread,
    when there is one less.
    """

    def __init__(self, directory: Path, executor: Executor, changed: Callable[[], None]) -> None:
        self._directory = directory
        self._executor = executor
        self._changed = changed
        self._lock = Lock()
        self._kept: dict[str, _Kept] = {}

    def __contains__(self, attempt: object) -> bool:
        return attempt in self._kept

    def find(self, found: Collection[Found]) -> None:
        """At the start: takes over those of an earlier daemon that are among the containers `found`."""
        states = {one.attempt: one.state for one in found}
        for path in self._notes():
            attempt = path.name.removesuffix(SUFFIX)
            note = self._read(path)
            since = monotonic_of(note.since) if note is not None else None
            if note is None or since is None or states.get(attempt) != "running":
                logger.info("a kept container is gone", extra={"attempt": attempt})
                path.unlink(missing_ok=True)
                continue
            self._kept[attempt] = _Kept(since + note.seconds, note.assignment)

    def _notes(self) -> Iterable[Path]:
        try:
            return [
                path
                for path in self._directory.iterdir()
                if path.name.endswith(SUFFIX) and ATTEMPT_ID.fullmatch(path.name.removesuffix(SUFFIX))
            ]
        except FileNotFoundError:
            return []

    def _read(self, path: Path) -> Note | None:
        try:
            return from_msgpack(path.read_bytes(), Note)
        except (OSError, msgspec.MsgspecError) as error:
            logger.warning("the note of a kept container can't be read: %s: %s", path, error)
            return None

    def keep(self, assignment: Assignment, sandbox: Sandbox, seconds: float) -> float | None:
        """Keeps an ended attempt's container. Returns the seconds until its end; None if there is nothing to keep.

        One that an earlier daemon has kept already stays until its own time. Raises OSError and the executor's
        exceptions.
        """
        if not sandbox.keep():
            return None
        attempt = assignment.attempt
        with self._lock:
            known = self._kept.get(attempt)
        if known is not None:
            known.sandbox = sandbox
            return max(0.0, known.until - time.monotonic())
        self._directory.mkdir(parents=True, exist_ok=True)
        path, draft = self._path(attempt), self._path(attempt).with_suffix(".draft")
        data = msgspec.msgpack.encode(Note(reading(), seconds, assignment))
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
        with self._lock:
            self._kept[attempt] = _Kept(time.monotonic() + seconds, assignment, sandbox)
        return seconds

    def _path(self, attempt: str) -> Path:
        return self._directory / f"{attempt}{SUFFIX}"

    def listed(self) -> list[KeptAttempt]:
        """All of them, for a heartbeat."""
        now = time.monotonic()
        with self._lock:
            return [
                KeptAttempt(attempt=attempt, seconds=max(0.0, one.until - now)) for attempt, one in self._kept.items()
            ]

    def sandbox(self, attempt: str) -> tuple[Sandbox, Assignment] | None:
        """A kept container's sandbox and assignment; None if it is not kept here."""
        with self._lock:
            one = self._kept.get(attempt)
            if one is None or one.going:
                return None
            if one.sandbox is None:
                one.sandbox = self._executor.sandbox(one.assignment)
            return one.sandbox, one.assignment

    # the end

    def tick(self, now: float) -> None:
        """Removes those whose time is over."""
        with self._lock:
            over = [attempt for attempt, one in self._kept.items() if one.until <= now]
        for attempt in over:
            self.drop(attempt, "its time is over")

    def drop_oldest(self) -> None:
        """Removes the one whose time is over first: the disk is full."""
        with self._lock:
            left = [(one.until, attempt) for attempt, one in self._kept.items() if not one.going]
        if left:
            self.drop(min(left)[1], "the disk is low on space")

    def drop(self, attempt: str, why: str = "somebody has dropped it") -> None:
        """Removes a container, if it is kept here. Returns at once."""
        with self._lock:
            one = self._kept.get(attempt)
            if one is None or one.going:
                return
            one.going = True
        logger.info("removing a kept container: %s", why, extra={"attempt": attempt})
        run_in_background(self._remove, attempt, one)

    def _remove(self, attempt: str, one: _Kept) -> None:
        try:
            if one.sandbox is not None:
                one.sandbox.remove()
            self._executor.discard(attempt)
        except Exception as error:
            logger.warning("removing a kept container failed: %r", error, extra={"attempt": attempt})
            one.until, one.going = time.monotonic() + TRY_AGAIN, False
            return
        self._path(attempt).unlink(missing_ok=True)
        with self._lock:
            self._kept.pop(attempt, None)
        self._changed()
