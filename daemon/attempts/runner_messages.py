"""Messages between a runner and the worker's loop: orders in, events out. Knows no executor's work and no thread."""

from __future__ import annotations

from typing import Protocol

import msgspec

from daemon.attempts.result import Result
from daemon.executors.base import Slot
from protocol.messages import Dependency


class Hold(msgspec.Struct, frozen=True):
    """Nothing to run yet: start the container, held at its gate."""


class Prefetch(msgspec.Struct, frozen=True):
    """A dependency has ended: its artifacts may be fetched."""

    dependency: Dependency


class Open(msgspec.Struct, frozen=True):
    """All dependencies are satisfied and this slot is free."""

    dependencies: list[Dependency]
    slot: Slot


class Look(msgspec.Struct, frozen=True):
    """Check for a stop request or the acknowledgement."""


class ReadAgain(msgspec.Struct, frozen=True):
    """The coordinator has lost log bytes; the sender has been set back."""


Order = Hold | Prefetch | Open | Look | ReadAgain


class RunnerListener(Protocol):
    """Receives a runner's events. All methods may be called from any thread and return at once."""

    def prepared(self, attempt: str) -> None:
        """The container exists; answer with `hold` or `open`."""

    def started(self, attempt: str) -> None:
        """The gate is open; the job's time runs."""

    def ended(self, attempt: str) -> None:
        """The container has ended; its slot is free."""

    def finished(self, attempt: str, result: Result) -> None:
        """Only the acknowledgement of the result is left."""

    def service_log(self, attempt: str, alias: str, data: bytes) -> None:
        """The whole (bounded) log of a service."""

    def gone(self, attempt: str) -> None:
        """Nothing of the attempt is left on this host; its thread ends."""
