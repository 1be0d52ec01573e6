"""The real clock, with what a test adds to either hand. For coordinators in threads."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass

from coordinator.engine.state import Now
from tests.support.coordinator_process import Running


@dataclass
class Clock:
    """What a coordinator takes as its clock."""

    wall: float = 0.0
    mono: float = 0.0
    boot: str = ""

    def __call__(self) -> Now:
        return Now(wall=time.time() + self.wall, mono=time.monotonic() + self.mono, boot=self.boot)


def looks_at_deadlines(running: Running) -> Callable[[], int]:
    """How often a coordinator has looked at its deadlines since."""
    engine, count = running.coordinator.engine, itertools.count()
    tick = engine.tick
    looked = [next(count)]

    def counted(now: Now) -> None:
        tick(now)
        looked[0] = next(count)

    engine.tick = counted  # type: ignore[method-assign]
    return lambda: looked[0]
