"""Threads that are used again: a new one takes 0.2 ms, more than all else that a short job needs of the daemon.

To wake one up costs much too, so it is not done for each task: one thread at a time is on its way. The one that has
come takes task after task; as soon as one of them blocks, the thread that is on its way runs, and has the next one
come. So a crowd of short tasks is done by one or two threads, and no task waits for one that blocks.

All are daemon threads: the process may end at any moment, whatever they wait for. Knows nothing of jobs.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable

MOST_IDLE = 256
"""Threads that wait for work; those that get free beyond that end."""

logger = logging.getLogger(__name__)


class Task:
    """What a thread is to do; `name` is the thread's while it does it."""

    def __init__(self, body: Callable[[], object], name: str) -> None:
        self.name = name
        self._body = body
        self._free = threading.Lock()  # whoever gets it runs the body
        self._running = threading.Lock()
        self._running.acquire()

    def run(self) -> None:
        """The body, unless it has begun; what it raises is logged."""
        if not self._free.acquire(blocking=False):
            return
        try:
            self._body()
        except Exception:
            logger.exception("the thread %s failed", self.name)
        finally:
            self._running.release()

    def join(self) -> None:
        """Returns when the body has; if no thread has begun with it yet, the caller does it."""
        self.run()
        with self._running:
            pass

    def returns_within(self, seconds: float) -> bool:
        """Whether the body has begun, and returns in so long a time."""
        returned = self._free.locked() and self._running.acquire(timeout=seconds)
        if returned:
            self._running.release()
        return returned


class Threads:
    """As many threads as there is work at a time. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tasks: deque[Task] = deque()
        self._idle: list[threading.Lock] = []  # each is released to wake its thread
        self._coming = False  # a thread was woken, or made, and does not run yet

    @property
    def idle(self) -> int:
        """How many wait for work."""
        return len(self._idle)

    def start(self, task: Task) -> None:
        """Runs the task in a thread, at once. Raises RuntimeError when there is no thread for it, nor one to be had."""
        with self._lock:
            self._tasks.append(task)
            fetch = self._next_thread()
        try:
            self._fetch(fetch)
        except RuntimeError:
            with self._lock:
                if task not in self._tasks:
                    return  # somebody had time for it after all
                self._tasks.remove(task)
            raise

    def _next_thread(self) -> Callable[[], None] | None:
        """How to have one more thread come, unless one is on its way; to be called with the lock held."""
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
                del task  # it may hold much
            stays = self._rest(woken)

    def _take(self) -> Task | None:
        """The next task; another thread comes for the one after it."""
        with self._lock:
            if not self._tasks:
                return None
            task = self._tasks.popleft()
            fetch = self._next_thread() if self._tasks else None
        try:
            self._fetch(fetch)
        except RuntimeError as error:
            logger.error("a task waits until a thread is free: %s", error)
        return task

    def _rest(self, woken: threading.Lock) -> bool:
        """Waits to be woken. Returns False if there are enough that wait."""
        with self._lock:
            if len(self._idle) >= MOST_IDLE:
                return False
            self._idle.append(woken)
        return woken.acquire()


THREADS = Threads()
"""Those of this process."""


def run_in_background(action: Callable[..., object], *arguments: object) -> None:
    """Calls what may block, such as the engine, from a thread of its own. What it raises is logged."""

    def run() -> None:
        try:
            action(*arguments)
        except Exception as error:
            logger.warning("%s failed: %r", getattr(action, "__name__", action), error)

    THREADS.start(Task(run, "run_in_background"))
