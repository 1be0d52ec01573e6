"""A thread pool: a new thread takes 0.2 ms, more than everything else that a short job costs the daemon.

Waking a thread is expensive too, so at most one wake-up is in flight. The woken thread takes task after task; as soon
as one of them blocks, the next woken thread runs and wakes another. So one or two threads handle a burst of short
tasks, and no task waits for a blocked one.

All are daemon threads: the process may end at any moment, whatever they wait for. Independent of jobs.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable

MOST_IDLE = 256
"""Limit of idle threads; any further thread ends when it becomes idle."""

logger = logging.getLogger(__name__)


class Task:
    """A unit of work; `name` is its thread's name while it runs."""

    def __init__(self, body: Callable[[], object], name: str) -> None:
        self.name = name
        self._body = body
        self._free = threading.Lock()  # its holder runs the body
        self._running = threading.Lock()
        self._running.acquire()

    def run(self) -> None:
        """Runs the body, unless it has begun; logs its exception."""
        if not self._free.acquire(blocking=False):
            return
        try:
            self._body()
        except Exception:
            logger.exception("the thread %s failed", self.name)
        finally:
            self._running.release()

    def join(self) -> None:
        """Returns after the body; if no thread has begun it yet, the caller runs it."""
        self.run()
        with self._running:
            pass

    def returns_within(self, seconds: float) -> bool:
        """Whether the body has begun, and returns within this time."""
        returned = self._free.locked() and self._running.acquire(timeout=seconds)
        if returned:
            self._running.release()
        return returned


class Threads:
    """As many threads as there are concurrent tasks. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tasks: deque[Task] = deque()
        self._idle: list[threading.Lock] = []  # releasing one wakes its thread
        self._coming = False  # a woken or new thread does not run yet

    @property
    def idle(self) -> int:
        """Number of idle threads."""
        return len(self._idle)

    def start(self, task: Task) -> None:
        """Runs the task in a thread, at once. Raises RuntimeError if no thread is idle and none can be created."""
        with self._lock:
            self._tasks.append(task)
            fetch = self._next_thread()
        try:
            self._fetch(fetch)
        except RuntimeError:
            with self._lock:
                if task not in self._tasks:
                    return  # a thread took it after all
                self._tasks.remove(task)
            raise

    def _next_thread(self) -> Callable[[], None] | None:
        """The way to get one more thread, unless one is coming; call it with the lock held."""
        if self._coming:
            return None
        self._coming = True
        return self._idle.pop().release if self._idle else self._make

    def _fetch(self, fetch: Callable[[], None] | None) -> None:
        try:
            if fetch is not None:
                fetch()
        except RuntimeError:
            with self._lock:
                self._coming = False
            raise

    def _make(self) -> None:
        threading.Thread(target=self._work, daemon=True).start()

    def _work(self) -> None:
        thread = threading.current_thread()
        woken = threading.Lock()
        woken.acquire()
        stays = True
        while stays:
            with self._lock:
                self._coming = False
            while task := self._take():
                thread.name = task.name
                task.run()
                del task  # it may hold a lot of memory
            stays = self._rest(woken)

    def _take(self) -> Task | None:
        """The next task; triggers another thread for the one after it."""
        with self._lock:
            if not self._tasks:
                return None
            task = self._tasks.popleft()
            fetch = self._next_thread() if self._tasks else None
        try:
            self._fetch(fetch)
        except RuntimeError as error:
            logger.error("a task waits for a free thread: %s", error)
        return task

    def _rest(self, woken: threading.Lock) -> bool:
        """Waits for a wake-up. Returns False if enough threads are idle."""
        with self._lock:
            if len(self._idle) >= MOST_IDLE:
                return False
            self._idle.append(woken)
        return woken.acquire()


THREADS = Threads()
"""This process's threads."""


def run_in_background(action: Callable[..., object], *arguments: object) -> None:
    """Calls a blocking function, such as an engine request, in a thread. Logs its exception."""

    def run() -> None:
        try:
            action(*arguments)
        except Exception as error:
            logger.warning("%s failed: %r", getattr(action, "__name__", action), error)

    THREADS.start(Task(run, "run_in_background"))
