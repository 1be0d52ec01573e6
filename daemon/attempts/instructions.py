"""Instructions of the worker's core, one small record each. Data only.

The core (`machine`) appends them in the order of execution; `manager` carries them out.
"""

from __future__ import annotations

import msgspec

from daemon.attempts.result import ResumePoint, StopReason
from daemon.executors.base import Slot
from protocol import messages as m


class Send(msgspec.Struct, frozen=True):
    """Send a message to the coordinator. It may get lost; the core resends unacknowledged messages."""

    message: m.Message
    payload: bytes | None


class Ask(msgspec.Struct, frozen=True):
    """Ask the coordinator about an attempt, after `after` seconds at the earliest. Ends in `answered` or `refused`."""

    number: int
    kind: type[m.Message]
    attempt: str
    after: float


class StartRunner(msgspec.Struct, frozen=True):
    """Give an attempt its runner. On failure call `failed_to_start`."""

    assignment: m.Assignment
    resume_point: ResumePoint

    @property
    def attempt(self) -> str:
        """The attempt's id."""
        return self.assignment.attempt


class HoldAtGate(msgspec.Struct, frozen=True):
    """Start the prepared container; it waits at its gate."""

    attempt: str


class Prefetch(msgspec.Struct, frozen=True):
    """Fetch the artifacts of a dependency that has ended, while other dependencies still run."""

    attempt: str
    dependency: m.Dependency


class OpenGate(msgspec.Struct, frozen=True):
    """Run the job: its dependencies are satisfied, and it has a slot."""

    attempt: str
    dependencies: list[m.Dependency]
    slot: Slot


class StopRunner(msgspec.Struct, frozen=True):
    """Notify the runner that its attempt ends early; a running script is stopped by a separate instruction."""

    attempt: str
    reason: StopReason


class StopScript(msgspec.Struct, frozen=True):
    """SIGTERM to the script, SIGKILL after `grace` seconds; `canceled` is for after_script's CI_JOB_STATUS."""

    attempt: str
    grace: float
    canceled: bool


class Kill(msgspec.Struct, frozen=True):
    """SIGKILL to the whole container."""

    attempt: str


class Prolong(msgspec.Struct, frozen=True):
    """Let a job with a lease continue for `seconds`."""

    attempt: str
    seconds: float


class ReadLogAgain(msgspec.Struct, frozen=True):
    """The coordinator has lost log bytes: read the log again from its sender's new offset."""

    attempt: str


class Settle(msgspec.Struct, frozen=True):
    """The coordinator has everything: remove the rest, once the container has had time to end by itself."""

    attempt: str
    finished_at: float  # monotonic


class Forget(msgspec.Struct, frozen=True):
    """Nothing of an attempt is left: drop its runner."""

    attempt: str


class DiscardLeftover(msgspec.Struct, frozen=True):
    """Remove an unwanted attempt's leftovers of an earlier daemon process."""

    attempt: str


class GiveUpLeftover(msgspec.Struct, frozen=True):
    """Remove an earlier process's leftovers of an attempt that may run elsewhere; `gave_up` reports the outcome."""

    attempt: str


Instruction = (
    Send
    | Ask
    | StartRunner
    | HoldAtGate
    | Prefetch
    | OpenGate
    | StopRunner
    | StopScript
    | Kill
    | Prolong
    | ReadLogAgain
    | Settle
    | Forget
    | DiscardLeftover
    | GiveUpLeftover
)
