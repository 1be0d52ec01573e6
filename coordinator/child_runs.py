"""Has pipelines compiled for jobs with `trigger`, and hands the answers to the engine in the loop's turns."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from typing import Protocol

from peewee import PeeweeException

from coordinator.engine.child_requests import completed
from coordinator.engine.effects import CompileChild
from coordinator.engine.engine import Engine
from coordinator.engine.state import Now
from coordinator.files.base import Logs
from coordinator.other_projects import Projects, Refused, check_hierarchy
from coordinator.store.history import History
from coordinator.submission import Submission
from protocol.compilation import Answer, ChildRequest, Compiled
from protocol.errors import LongshoreError
from protocol.log_times import LogPiece, mark

log = logging.getLogger(__name__)


class Compiler(Protocol):
    """Compiles child pipelines elsewhere."""

    def compile(self, request: ChildRequest) -> Future[Answer]:
        """The answer, soon; the future has no exception, but it is canceled if the coordinator stops."""


class ChildRuns:
    """Pipelines on their way from a request to a run. `wake` is called in another thread, too."""

    def __init__(
        self,
        compiler: Compiler,
        engine: Engine,
        submission: Submission,
        logs: Logs,
        projects: Projects,
        history: History,
        wake: Callable[[], None],
    ) -> None:
        self._compiler = compiler
        self._engine = engine
        self._submission = submission
        self._logs = logs
        self._projects = projects
        self._history = history
        self._wake = wake
        self._unknown: deque[CompileChild] = deque()  # those whose project has to be looked for
        self._done: deque[tuple[CompileChild, Answer]] = deque()  # appended to by other threads

    def compile(self, wanted: Iterable[CompileChild]) -> None:
        """Has pipelines compiled. To be called when the attempts that asked for them are durable."""
        for each in wanted:
            if each.origin is not None:
                self._compile(each)
            else:
                self._unknown.append(each)
                self._wake()

    def _compile(self, wanted: CompileChild) -> None:
        def done(future: Future[Answer]) -> None:
            if not future.cancelled():
                self._done.append((wanted, future.result()))
                self._wake()

        self._compiler.compile(wanted.request).add_done_callback(done)

    def find_projects(self, now: Now) -> None:
        """Looks for the projects of which pipelines are wanted; later, if the database can't be read."""
        while self._unknown:
            wanted = self._unknown[0]
            trigger = wanted.request.trigger
            try:
                origin = self._projects.find(trigger.project, trigger.branch)
            except PeeweeException as error:
                log.warning("can't look for project %s, trying again: %s", trigger.project, error)
                return
            except Refused as error:
                self._engine.child_refused(wanted.attempt, [str(error)], now, error.reason)
            except (LongshoreError, ValueError) as error:
                self._engine.child_refused(wanted.attempt, [str(error)], now)
            else:
                request = completed(wanted.request, origin)
                self._compile(CompileChild(wanted.attempt, request, origin))
            self._unknown.popleft()

    def take_answers(self, now: Now) -> list[tuple[str, str, LogPiece]]:
        """Starts the runs that have been compiled, and fails the jobs of the others. Warnings and problems are in the
        jobs' logs.

        Returns what was appended to logs: attempt, stream, bytes.
        """
        appended: list[tuple[str, str, LogPiece]] = []
        while self._done:
            wanted, answer = self._done.popleft()
            attempt, origin = wanted.attempt, wanted.origin
            run = self._engine.awaits_child(attempt)
            if run is None or origin is None:
                log.debug("nobody waits for the pipeline any more", extra={"attempt": attempt})
            elif isinstance(answer, Compiled):
                try:
                    check_hierarchy(run, self._history, other_project=bool(wanted.request.trigger.project))
                    self._submission.submit_child(attempt, answer.plan, origin, now)
                except Refused as error:
                    self._engine.child_refused(attempt, [str(error)], now, error.reason)
                except PeeweeException as error:
                    log.warning("can't start a run, trying again: %s", error)
                    self._done.appendleft((wanted, answer))
                    break
                else:
                    appended += self._logged(attempt, [f"warning: {warning}" for warning in answer.warnings], now)
            else:
                appended += self._logged(attempt, answer.problems, now)
                self._engine.child_refused(attempt, answer.problems, now)
        return appended

    def _logged(self, attempt: str, lines: Sequence[str], now: Now) -> list[tuple[str, str, LogPiece]]:
        """Writes the log of an attempt, which has no other."""
        if not lines:
            return []
        text = "".join(f"{line}\n" for line in lines).encode()
        return [(attempt, "job", self._logs.append(attempt, 0, text, marks=[mark(0, now.wall)]))]
