"""What the worker's core wants done, one small record each. Data only.

The core (`machine`) appends instructions in the order in which they are to happen; `manager` carries them out.
"""

from __future__ import annotations

from dataclasses import dataclass

from daemon.attempts.result import ResumePoint, StopReason
from protocol import messages as m


@dataclass(frozen=True, slots=True)
class Send:
    """Send a message to the coordinator. It may get lost; the core sends again what is not acknowledged."""

    message: m.Message
    payload: bytes | None


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask the coordinator about an attempt, not before `after` seconds. `answered` or `refused` brings the outcome."""

    number: int
    kind: type[m.Message]
    attempt: str
    after: float


@dataclass(frozen=True, slots=True)
class StartRunner:
    """Give an attempt its runner. If there can be none, `failed_to_start` says why."""

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
    """Fetch the artifacts of a dependency that has ended, while others have not."""

    attempt: str
    dependency: m.Dependency


@dataclass(frozen=True, slots=True)
class OpenGate:
    """Run the job: its dependencies are satisfied, and it has a slot."""

    attempt: str
    dependencies: list[m.Dependency]


@dataclass(frozen=True, slots=True)
class StopRunner:
    """Tell the runner that its attempt ends differently; a running script is stopped by an instruction of its own."""

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
    """Let a job with a lease go on for `seconds`."""

    attempt: str
    seconds: float


@dataclass(frozen=True, slots=True)
class ReadLogAgain:
    """The coordinator has lost log bytes: read the log again from where its sender was set back to."""

    attempt: str


@dataclass(frozen=True, slots=True)
class Settle:
    """The coordinator has everything: remove what is left, once the container has had time to end by itself."""

    attempt: str
    finished_at: float  # monotonic


@dataclass(frozen=True, slots=True)
class Forget:
    """Nothing is left of an attempt: drop its runner."""

    attempt: str


@dataclass(frozen=True, slots=True)
class DiscardLeftover:
    """Remove what an earlier life of this daemon has left of an attempt that nobody wants."""

    attempt: str


@dataclass(frozen=True, slots=True)
class GiveUpLeftover:
    """Remove what an earlier life has left of an attempt that may run elsewhere; `gave_up` says whether it is gone."""

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
