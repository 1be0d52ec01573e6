"""Answers what queued jobs need of other pipelines, in the loop's next turn."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable

from peewee import PeeweeException

from coordinator.engine.effects import LookUp
from coordinator.engine.engine import Engine
from coordinator.engine.state import Now
from coordinator.other_projects import Artifacts, KnownProjects
from protocol.errors import LongshoreError

log = logging.getLogger(__name__)


class UpstreamNeeds:
    """Look-ups on their way from an effect to an answer. `wake` makes the next turn begin at once."""

    def __init__(self, engine: Engine, projects: KnownProjects, artifacts: Artifacts, wake: Callable[[], None]) -> None:
        self._engine = engine
        self._projects = projects
        self._artifacts = artifacts
        self._wake = wake
        self._wanted: deque[LookUp] = deque()

    def look_up(self, wanted: Iterable[LookUp]) -> None:
        """Has something looked for. To be called when the turn that asks for it is durable."""
        self._wanted += wanted
        if self._wanted:
            self._wake()

    def answer(self, now: Now) -> None:
        """Answers all that is wanted; later, if the database can't be read."""
        while self._wanted:
            try:
                self._answer(self._wanted[0], now)
            except PeeweeException as error:
                log.warning("can't look for what a job needs of other pipelines, trying again: %s", error)
                return
            self._wanted.popleft()

    def _answer(self, wanted: LookUp, now: Now) -> None:
        try:
            if wanted.mirrors:
                self._engine.mirrored(wanted.job, self._projects.latest(wanted.mirrors), now)
            else:
                self._engine.upstream_found(wanted.job, self._artifacts.find(wanted, now.wall), now)
        except LongshoreError as error:
            self._engine.upstream_missing(wanted.job, [str(error)], now)
        except ValueError as error:
            text = f"what it needs of other pipelines can't be read from the database: {error}"
            self._engine.upstream_missing(wanted.job, [text], now)
