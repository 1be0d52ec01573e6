"""Threads that are used again: a new one takes 0.2 ms, more than all else that a short job needs of the daemon.

All are daemon threads: the process may end at any moment, whatever they wait for. Knows nothing of jobs.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from queue import SimpleQueue

MOST_IDLE = 256
"""Threads that wait for work; those that get free beyond that end."""

logger = logging.getLogger(__name__)


class Task:
    """What a thread is to do; `name` is the thread's while it does it."""

    def __init__(self, body: Callable[[], object], name: str) -> None:
        self.name = name
        self._body = body
        self._running = threading.Lock()
        self._running.acquire()

    def run(self) -> None:
        """The body; what it raises is logged."""
        try:
            self._body()
        except Exception:
            logger.exception("the thread %s failed", self.name)
        finally:
            self._running.release()

    def join(self) -> None:
        """Waits until the body has returned."""
        with self._running:
            pass


class Threads:
    """As many threads as there is work at a time. Thread-safe."""

    def __init__(self) -> None:
        self._idle: list[SimpleQueue[Task]] = []

    @property
    def idle(self) -> int:
        """How many wait for work."""
        return len(self._idle)

    def start(self, task: Task) -> None:
        """Runs the task in a thread of its own, at once."""
        try:
            inbox = self._idle.pop()
        except IndexError:
            inbox = SimpleQueue()
            threading.Thread(target=self._work, args=(inbox,), daemon=True).start()
        inbox.put(task)

    def _work(self, inbox: SimpleQueue[Task]) -> None:
        thread = threading.current_thread()
        while True:
            task = inbox.get()
            thread.name = task.name
            task.run()
            del task  # it may hold much
            if len(self._idle) >= MOST_IDLE:
                return
            self._idle.append(inbox)


THREADS = Threads()
"""Those of this process."""


def aside(action: Callable[..., object], *arguments: object) -> None:
    """Calls what may block, such as the engine, from a thread of its own. What it raises is logged."""

    def run() -> None:
        try:
            action(*arguments)
        except Exception as error:
            logger.warning("%s failed: %r", getattr(action, "__name__", action), error)

    THREADS.start(Task(run, "aside"))
