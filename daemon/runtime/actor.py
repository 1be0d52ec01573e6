"""An actor: a generator that releases its thread while it waits for a message. Independent of jobs."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Generator
from threading import Lock
from typing import Generic, TypeVar

from daemon.runtime.thread_pool import THREADS, Task

Word = TypeVar("Word")

logger = logging.getLogger(__name__)


class Actor(Generic[Word]):
    """A generator that yields to wait for a message, and continues in whichever thread delivers one.

    One thread at a time runs it; messages arrive one by one, in order. Thread-safe.
    """

    def __init__(self, name: str, course: Generator[None, Word | None, None]) -> None:
        self._name = name
        self._course = course
        self._inbox: deque[Word | None] = deque()  # None starts it
        self._lock = Lock()
        self._under_way = True  # a thread runs it; blocks all threads before `begin`

    def begin(self) -> None:
        """Starts it; earlier messages wait for it, in order."""
        self._inbox.appendleft(None)
        self._under_way = False
        self.go_on()

    def tell(self, word: Word) -> None:
        """Sends a message. Returns at once."""
        self._inbox.append(word)
        self.go_on()

    def go_on(self) -> None:
        """Runs it in a thread, unless one already does; also retries after a lack of threads."""
        with self._lock:
            if self._under_way or not self._inbox:
                return
            self._under_way = True
        try:
            THREADS.start(Task(self._live, self._name))
        except RuntimeError as error:
            self._under_way = False
            logger.error("%s waits for a thread: %s", self._name, error)

    def _live(self) -> None:
        """Runs until no message is left, or the generator ends."""
        try:
            while True:
                with self._lock:
                    if not self._inbox:
                        self._under_way = False
                        return
                    word = self._inbox.popleft()
                self._course.send(word)
        except StopIteration:
            pass
