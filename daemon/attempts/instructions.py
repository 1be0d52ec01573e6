"""Instructions of the worker's core, one small record each. Data only.

The core (`machine`) appends them in the order of execution; `manager` carries them out.
"""

from __future__ import annotations

from dataclasses import dataclass

from daemon.attempts.result import ResumePoint, StopReason
from protocol import messages as m


@dataclass(frozen=True, slots=True)
class Send:
    """Send a message to the coordinator. It may get lost; the core resends unacknowledged messages."""

    message: m.Message
    payload: bytes | None


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask the coordinator about an attempt, after `after` seconds at the earliest. Ends in `answered` or `refused`."""

    number: int
    kind: type[m.Message]
    attempt: str
    after: float


@dataclass(frozen=True, slots=True)
class StartRunner:
    """Give an attempt its runner. On failure call `failed_to_start`."""

    assignment: m.Assignment
    resume_point: ResumePoint

    @property
    def attempt(self) -> str:
        """The attempt's id."""
        return self.assignment.attempt


@dataclass(frozen=True, slots=True)
class HoldAtGate:
    """Start the prepared container; it waits at its gate."""

    attempt: str


@dataclass(frozen=True, slots=True)
class Prefetch:
    """Fetch the artifacts of a dependency that has ended, while other dependencies still run."""

    attempt: str
    dependency: m.Dependency


@dataclass(frozen=True, slots=True)
class OpenGate:
    """Run the job: its dependencies are satisfied, and it has a slot."""

    attempt: str
    dependencies: list[m.Dependency]


@dataclass(frozen=True, slots=True)
class StopRunner:
    """Notify the runner that its attempt ends early; a running script is stopped by a separate instruction."""

    attempt: str
    reason: StopReason


@dataclass(frozen=True, slots=True)
class StopScript:
    """SIGTERM to the script, SIGKILL after `grace` seconds; `canceled` is for after_script's CI_JOB_STATUS."""

    attempt: str
    grace: float
    canceled: bool


@dataclass(frozen=True, slots=True)
class Kill:
    """SIGKILL to the whole container."""

    attempt: str


@dataclass(frozen=True, slots=True)
class Prolong:
    """Let a job with a lease continue for `seconds`."""

    attempt: str
    seconds: float


@dataclass(frozen=True, slots=True)
class ReadLogAgain:
    """The coordinator has lost log bytes: read the log again from its sender's new offset."""

    attempt: str


@dataclass(frozen=True, slots=True)
class Settle:
    """The coordinator has everything: remove the rest, once the container has had time to end by itself."""

    attempt: str
    finished_at: float  # monotonic


@dataclass(frozen=True, slots=True)
class Forget:
    """Nothing of an attempt is left: drop its runner."""

    attempt: str


@dataclass(frozen=True, slots=True)
class DiscardLeftover:
    """Remove an unwanted attempt's leftovers of an earlier daemon process."""

    attempt: str


@dataclass(frozen=True, slots=True)
class GiveUpLeftover:
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
