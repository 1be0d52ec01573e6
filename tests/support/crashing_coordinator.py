"""Kills itself at a chosen point of a chosen turn: `python -m tests.support.crashing_coordinator STATE BIND [...]`.

The points are the steps of the turn, which are methods of `Coordinator`; nothing in production knows of this.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import zmq

from coordinator.engine.effects import Turn
from coordinator.files.journal import Write
from coordinator.handlers import Outbox
from coordinator.security.roles import Identity
from coordinator.server import Coordinator
from coordinator.settings import CoordinatorSettings
from coordinator.store.models import Job
from tests.support import forking
from tests.support.forking import ROOT

POINTS = (
    "before-logs",
    "inside-logs",
    "before-transaction",
    "inside-transaction",
    "after-commit",
    "between-replies-and-frames",
    "before-events",
    "after-events",
)


REVOKED = "between-revocation-and-what-comes-of-it"
"""A point of no turn in particular: a key is durably revoked, and what its worker had has not failed yet."""


def start(state: Path, bind: str, *crash: str) -> forking.Forked:
    """A coordinator in a process of its own, once it listens."""
    command = ["crashing", str(state), bind, *crash]
    source, sink = os.pipe()
    with open(source) as said:
        try:
            process = forking.fork(
                command, module=__name__, cwd=ROOT, environment=os.environ, stdin=0, stdout=sink, stderr=2
            )
        finally:
            os.close(sink)
        assert said.readline() == "up\n"
    return process


def free_address() -> str:
    """An address that nobody listens at now."""
    probe: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.ROUTER)
    with probe:
        return f"tcp://127.0.0.1:{probe.bind_to_random_port('tcp://127.0.0.1')}"


def die() -> None:
    """As if the power went."""
    os.kill(os.getpid(), signal.SIGKILL)


class CrashingCoordinator(Coordinator):
    """Dies at `point` of the `turns`-th turn that has rows to write."""

    def __init__(self, settings: CoordinatorSettings, point: str, turns: int) -> None:
        super().__init__(settings)
        self._point = point
        self._turns_left = turns

    def settle(self, turn: Turn, outbox: Outbox, now: Any) -> None:
        if turn.runs or turn.stages or turn.jobs or turn.attempts or turn.workers:
            self._turns_left -= 1
        super().settle(turn, outbox, now)

    def _reached(self, point: str) -> None:
        if self._turns_left == 0 and point == self._point:
            die()

    def cut_off(self, identity: Identity) -> None:
        if self._point == REVOKED:
            die()
        super().cut_off(identity)

    def write_logs(self) -> None:
        self._reached("before-logs")
        journal = self.logs._journal
        write = journal.write
        if self._point == "inside-logs":  # the files have the bytes, the journal has not

            def write_nothing(writes: Sequence[Write]) -> None:
                self._reached("inside-logs")
                write(writes)

            journal.write = write_nothing  # type: ignore[method-assign]
        super().write_logs()
        journal.write = write  # type: ignore[method-assign]
        self._reached("inside-logs")  # there were none

    def write_rows(self, turn: Turn) -> None:
        self._reached("before-transaction")
        write = self.store._write
        if self._point == "inside-transaction":

            def write_some(table: type[Any], rows: Any) -> None:
                write(table, rows)
                if table is Job:
                    self._reached("inside-transaction")

            self.store._write = write_some  # type: ignore[method-assign, assignment]
        super().write_rows(turn)
        self.store._write = write  # type: ignore[method-assign]
        self._reached("after-commit")

    def send_frames(self, turn: Turn, outbox: Outbox) -> None:
        self._reached("between-replies-and-frames")
        super().send_frames(turn, outbox)

    def publish(self, turn: Turn, outbox: Outbox) -> None:
        self._reached("before-events")
        super().publish(turn, outbox)
        self._reached("after-events")


def main() -> None:
    """STATE BIND [POINT TURNS]"""
    state, bind, *crash = sys.argv[1:]
    settings = CoordinatorSettings(state=Path(state), bind=bind)
    coordinator = CrashingCoordinator(settings, crash[0], int(crash[1])) if crash else Coordinator(settings)
    coordinator.start()
    print("up", flush=True)
    coordinator.run()


if __name__ == "__main__":
    main()
