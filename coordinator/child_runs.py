"""Has child pipelines compiled for jobs with `trigger`, and hands the answers to the engine in the loop's turns."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from typing import Protocol

from coordinator.engine.effects import CompileChild
from coordinator.engine.engine import Engine
from coordinator.engine.state import Now
from coordinator.files.base import Bytes, Logs
from coordinator.submission import Submission
from protocol.compilation import Answer, ChildRequest, Compiled

log = logging.getLogger(__name__)


class Compiler(Protocol):
    """Compiles child pipelines elsewhere."""

    def compile(self, request: ChildRequest) -> Future[Answer]:
        """The answer, soon; the future has no exception, but it is canceled if the coordinator stops."""


class ChildRuns:
    """Child pipelines on their way from a request to a run. `wake` is called in another thread."""

    def __init__(
        self, compiler: Compiler, engine: Engine, submission: Submission, logs: Logs, wake: Callable[[], None]
    ) -> None:
        self._compiler = compiler
        self._engine = engine
        self._submission = submission
        self._logs = logs
        self._wake = wake
        self._done: deque[tuple[str, Answer]] = deque()  # appended to by other threads

    def compile(self, wanted: Iterable[CompileChild]) -> None:
        """Has child pipelines compiled. To be called when the attempts that asked for them are durable."""
        for each in wanted:
            self._compile(each)

    def _compile(self, wanted: CompileChild) -> None:
        def done(future: Future[Answer]) -> None:
            if not future.cancelled():
                self._done.append((wanted.attempt, future.result()))
                self._wake()

        self._compiler.compile(wanted.request).add_done_callback(done)

    def take_answers(self, now: Now) -> list[tuple[str, str, int, Bytes]]:
        """Starts the runs that have been compiled, and fails the jobs of the others, with all problems in their logs.

        Returns what was appended to logs: attempt, stream, offset, bytes.
        """
        appended: list[tuple[str, str, int, Bytes]] = []
        while self._done:
            attempt, answer = self._done.popleft()
            run = self._engine.awaits_child(attempt)
            if run is None:
                log.debug("nobody waits for the child pipeline any more", extra={"attempt": attempt})
            elif isinstance(answer, Compiled):
                self._submission.submit_child(attempt, answer.plan, now)
            else:
                text = "".join(f"{problem}\n" for problem in answer.problems).encode()
                appended.append((attempt, "job", 0, self._logs.append(attempt, 0, text)))
                self._engine.child_refused(attempt, answer.problems, now)
        return appended
