"""State shared by the parts of the worker's core: attempts, time, timers, and pending instructions. Pure."""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Callable

import msgspec

from daemon.attempts.attempt import Attempt
from daemon.attempts.instructions import Ask, Forget, Instruction, Send
from daemon.runtime.timers import Timers
from protocol import messages as m

REMEMBERED = 1000
"""Number of acknowledged, ended attempts to remember: a late frame must not run them again."""
ASK_AGAIN = 5.0
"""Seconds until a refused question is asked again: the attempt can't continue without its answer."""


class CoreSettings(msgspec.Struct):
    """The core's part of a worker's settings. Durations are seconds."""

    slots: int
    ahead: int  # attempts prepared beyond the running ones
    grace: float  # from SIGTERM to SIGKILL of a script
    after_script_timeout: float
    holds: bool  # the executor can keep a started job at its gate
    ack_timeout: float  # until unacknowledged messages are resent

    @property
    def runners(self) -> int:
        """Limit of attempts with a runner: each blocks a few threads."""
        return 4 * (self.slots + self.ahead) + 16


class AttemptTable(msgspec.Struct):
    """Each event sets `now` (monotonic) before it changes anything."""

    now: float = 0.0
    connected: bool = False  # welcomed by the coordinator, and not lost since
    attempts: dict[str, Attempt] = {}
    known: set[str] = set()  # kept by sweeps; another thread may read it
    over: OrderedDict[str, None] = msgspec.field(default_factory=OrderedDict)
    timers: Timers = msgspec.field(default_factory=Timers)
    _out: list[Instruction] = []
    _questions: dict[int, tuple[Ask, Callable[[m.Message], None]]] = {}
    _numbers: itertools.count[int] = msgspec.field(default_factory=lambda: itertools.count(1))

    def instruct(self, instruction: Instruction) -> None:
        """Appends an instruction."""
        self._out.append(instruction)

    def take(self) -> list[Instruction]:
        """The instructions since the last call, in order."""
        taken, self._out = self._out, []
        return taken

    def send(self, message: m.Message, payload: bytes | None = None) -> bool:
        """Sends, if connected. Returns whether connected."""
        if self.connected:
            self._out.append(Send(message, payload))
        return self.connected

    def ask(self, kind: type[m.Message], attempt: str, then: Callable[[m.Message], None], after: float = 0.0) -> None:
        """Asks the coordinator about an attempt; `then` gets the answer."""
        question = Ask(next(self._numbers), kind, attempt, after)
        self._questions[question.number] = (question, then)
        self._out.append(question)

    def answered(self, number: int, reply: m.Message) -> None:
        """Passes an answer to its question."""
        self._questions.pop(number)[1](reply)

    def refused(self, number: int) -> None:
        """The coordinator could not answer: asks again later."""
        question, then = self._questions.pop(number)
        self.ask(question.kind, question.attempt, then, ASK_AGAIN)

    def add(self, attempt: Attempt) -> None:
        """Adds an attempt."""
        self.attempts[attempt.id] = attempt
        self.known.add(attempt.id)

    def remember_over(self, attempt: Attempt) -> None:
        """Remembers an attempt that the coordinator has stored entirely."""
        self.over[attempt.id] = None
        if len(self.over) > REMEMBERED:
            self.over.popitem(last=False)

    def forget(self, attempt: Attempt) -> None:
        """Drops an attempt of which nothing is left here."""
        for timer in (attempt.deadline, attempt.flush):
            if timer:
                timer.cancel()
        del self.attempts[attempt.id]
        self.known.discard(attempt.id)
        self._out.append(Forget(attempt.id))
