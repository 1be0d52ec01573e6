"""The launcher's loop: takes triggers, works on a few projects at a time, polls, and steps its other parts.

Crash-only: all that must not be lost is at the coordinator. Triggers of one project are launched in their order, those
of several projects side by side.
"""

from __future__ import annotations

import fcntl
import logging
import os
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, Protocol

import msgspec

from coordinator.children.compiler import ChildCompiler, CompilerSettings
from protocol import messages as m
from protocol.backoff import Backoff
from protocol.client import Client
from protocol.errors import CoordinatorUnreachable, LongshoreError, UsageError
from protocol.keys import PRIVATE_DIRECTORY
from protocol.projects import PendingTrigger, ProjectView
from team.git import Ended, Git
from team.launch import Launch, Refused, access_of
from team.mirrors import ask, remove_others
from team.polling import Poll

log = logging.getLogger(__name__)

LOOK_EVERY = 0.25
"""Seconds between two looks for triggers."""
STEP_EVERY = 1.0
"""Seconds between two steps of the other parts, and two looks at the projects."""
PROJECTS_AT_ONCE = 4
MOST_TAKEN = 100
"""Triggers taken at once."""
MOST_ATTEMPTS = 10
"""Attempts for one trigger; with the pauses between them, they take four minutes."""
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
TAKEOVER_SECONDS = 30.0
"""Time for a predecessor to end."""
REQUEST_SECONDS = 30.0


class Part(Protocol):
    """A further part of the launcher."""

    def step(self, client: Client, now: float) -> None:
        """Does what is due at the wall time `now`, without blocking for long; called about once a second."""


class Work(msgspec.Struct):
    """What the launcher knows of one project."""

    launch: Launch
    backoff: Backoff
    poll_at: float = 0.0  # monotonic; 0: at once
    retry_at: float = 0.0  # monotonic
    attempts: dict[int, int] = {}  # of triggers
    task: Future[None] | None = None

    @property
    def is_busy(self) -> bool:
        """Whether a thread works on it."""
        return self.task is not None and not self.task.done()


class Launcher:
    """Call `run` in any thread; `stop` is thread-safe. `home` is a directory for this alone."""

    def __init__(
        self,
        client: Client,
        home: Path,
        *,
        includes: Literal["none", "public", "own"] = "public",
        parts: Sequence[Part] = (),
    ) -> None:
        self._client = client
        self._home = home
        self._includes = includes
        self._parts = parts
        self._git = Git()
        self._works: dict[str, Work] = {}
        self._projects: dict[str, ProjectView] = {}
        self._stopping = threading.Event()

    def stop(self) -> None:
        """Ends `run` soon, and what it has started."""
        self._stopping.set()
        self._git.end()

    def run(self) -> None:
        """Works until `stop`. Raises UsageError if another launcher uses the directory."""
        self._home.mkdir(parents=True, exist_ok=True, mode=PRIVATE_DIRECTORY)
        with self._alone():
            trusted = CompilerSettings(includes=self._includes)
            forks = CompilerSettings(includes="none" if self._includes == "none" else "public")
            self._compilers = (
                ChildCompiler(self._home / "compiler", _no_blob, trusted),
                ChildCompiler(self._home / "compiler-forks", _no_blob, forks),
            )
            self._threads = ThreadPoolExecutor(PROJECTS_AT_ONCE, thread_name_prefix="launch")
            try:
                self._loop()
            finally:
                self._git.end()
                for compiler in self._compilers:
                    compiler.close()
                self._threads.shutdown(cancel_futures=True)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with (self._home / "lock").open("a") as file:
            deadline = time.monotonic() + TAKEOVER_SECONDS
            while not self._stopping.is_set():
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise UsageError(f"another launcher uses {self._home}; end it first") from None
                    self._stopping.wait(0.1)
                else:
                    break
            file.truncate(0)
            file.write(f"{os.getpid()}\n")
            file.flush()
            yield

    def _loop(self) -> None:
        backoff = Backoff(LOOK_EVERY, 5.0)
        next_step = 0.0
        while not self._stopping.is_set():
            try:
                if time.monotonic() >= next_step:
                    next_step = time.monotonic() + STEP_EVERY
                    self._look_at_projects()
                    self._step()
                self._take()
                backoff.reset()
                pause = LOOK_EVERY
            except CoordinatorUnreachable as error:
                log.warning("%s", error)
                client, self._client = self._client, self._client.another()
                client.close()
                pause = backoff.pause()
            except LongshoreError as error:  # it can't write now, for example
                log.warning("%s", error)
                pause = backoff.pause()
            self._stopping.wait(pause)

    def _step(self) -> None:
        for part in self._parts:
            try:
                part.step(self._client, time.time())
            except CoordinatorUnreachable:
                raise
            except Exception:
                log.exception("a part of the launcher failed")

    def _look_at_projects(self) -> None:
        """Learns of new and removed projects, and polls those that are due."""
        listed = self._client.request(m.ListProjects, m.ProjectList).projects
        projects = {view.project.name: view for view in listed}
        if projects.keys() != self._projects.keys():
            for name in [name for name, work in self._works.items() if name not in projects and not work.is_busy]:
                del self._works[name]
            remove_others(self._home / "mirrors", {*projects, *self._works})
        self._projects = projects
        for name, view in projects.items():
            if view.project.poll_seconds is not None and not view.paused and view.project.url:
                work = self._work(name)
                if not work.is_busy and time.monotonic() >= max(work.poll_at, work.retry_at):
                    work.poll_at = time.monotonic() + view.project.poll_seconds
                    work.task = self._threads.submit(self._poll, work, view)

    def _work(self, name: str) -> Work:
        if name not in self._works:
            launch = Launch(self._git, self._home, name, self._compilers)
            self._works[name] = Work(launch, Backoff(FIRST_PAUSE, LONGEST_PAUSE))
        return self._works[name]

    def _take(self) -> None:
        """Has pending triggers launched, unless their project is being worked on."""
        now = time.monotonic()
        busy = [name for name, work in self._works.items() if work.is_busy or now < work.retry_at]
        taken = self._client.request(m.TakeTriggers, m.PendingTriggers, limit=MOST_TAKEN, without=busy).triggers
        by_project: dict[str, list[PendingTrigger]] = {}
        for pending in taken:
            by_project.setdefault(pending.trigger.project, []).append(pending)
        for name, found in by_project.items():
            work = self._work(name)
            if name not in busy:
                work.task = self._threads.submit(self._launch, work, found)

    # in threads, one for a project

    def _launch(self, work: Work, pending: Sequence[PendingTrigger]) -> None:
        with self._client.another() as client:
            client.timeout = REQUEST_SECONDS
            for each in pending:
                if self._stopping.is_set() or not self._try(work, each, client):
                    return

    def _try(self, work: Work, pending: PendingTrigger, client: Client) -> bool:
        """Launches a trigger. False if it has to be tried again, and those after it wait for it."""
        try:
            work.launch.launch(pending, client)
        except (Ended, CoordinatorUnreachable):
            work.retry_at = time.monotonic() + FIRST_PAUSE
            return False
        except Exception as error:
            if not isinstance(error, LongshoreError):
                log.exception("trigger %d: Longshore failed", pending.id)
            return self._failed(work, pending, client, error)
        work.attempts.pop(pending.id, None)
        work.backoff.reset()
        return True

    def _failed(self, work: Work, pending: PendingTrigger, client: Client, error: Exception) -> bool:
        attempts = work.attempts.get(pending.id, 0) + 1
        reason = str(error) if isinstance(error, LongshoreError) else f"Longshore failed: {error!r}"
        if attempts >= MOST_ATTEMPTS:
            try:
                work.launch.settle(client, pending.id, "refused", reason)
            except LongshoreError as unsettled:
                log.warning("trigger %d: %s", pending.id, unsettled)
                return False
            work.attempts.pop(pending.id, None)
            return True
        work.attempts[pending.id] = attempts
        pause = work.backoff.pause()
        work.retry_at = time.monotonic() + pause
        log.warning("trigger %d of %s: %s; again in %.0f s", pending.id, pending.trigger.project, reason, pause)
        return False

    def _poll(self, work: Work, view: ProjectView) -> None:
        project = view.project
        try:
            with self._client.another() as client:
                client.timeout = REQUEST_SECONDS
                refs = ask(self._git, access_of(client, project))
                found = Poll(self._home / "polls", project.name).compare(project, refs, client)
            work.backoff.reset()
            if found:
                log.info("%s: %d new branches and tags", project.name, found)
        except Ended:
            pass
        except (LongshoreError, Refused) as error:
            pause = work.backoff.pause()
            work.poll_at = max(work.poll_at, time.monotonic() + pause)
            log.warning("can't poll %s: %s", project.name, error)
        except Exception:
            log.exception("can't poll %s", project.name)


def _no_blob(digest: str) -> Path:
    """The path of a blob: commits are compiled without any."""
    raise AssertionError(digest)
