"""What goes on for long, waits now and then, and has a thread only while it does not wait. Knows nothing of jobs."""

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
    """A generator that yields where it has to be told something, and goes on in whichever thread takes what it is told.

    One thread at a time has it in hand, and it gets its words one by one, in order. Thread-safe.
    """

    def __init__(self, name: str, course: Generator[None, Word | None, None]) -> None:
        self._name = name
        self._course = course
        self._inbox: deque[Word | None] = deque()  # None begins it
        self._lock = Lock()
        self._under_way = True  # a thread has it in hand; it is nobody's before `begin`

    def begin(self) -> None:
        """Begins; what it was told before waits for it, in order."""
        self._inbox.appendleft(None)
        self._under_way = False
        self.go_on()

    def tell(self, word: Word) -> None:
        """Returns at once."""
        self._inbox.append(word)
        self.go_on()

    def go_on(self) -> None:
        """Has a thread go on with what it was told, if none does; what there was no thread for is tried again so."""
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
        """Until there is nothing more to do, for now or at all."""
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
