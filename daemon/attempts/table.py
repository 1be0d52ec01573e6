"""What the parts of the worker's core share: attempts, time, timers, and what is to be done. Pure."""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from daemon.attempts.attempt import Attempt
from daemon.attempts.instructions import Ask, Forget, Instruction, Send
from daemon.runtime.timers import Timers
from protocol import messages as m

REMEMBERED = 1000
"""Attempts that are over and acknowledged, and must not run again if a late frame asks for it."""
ASK_AGAIN = 5.0
"""Seconds until a refused question is asked again: the attempt can't go on without its answer."""


@dataclass(slots=True)
class CoreSettings:
    """What the core needs of a worker's settings. Durations are seconds."""

    slots: int
    ahead: int  # attempts that may be prepared beyond those that run
    grace: float  # from SIGTERM to SIGKILL of a script
    after_script_timeout: float
    holds: bool  # the executor can keep a started job at its gate
    ack_timeout: float  # what is not acknowledged is sent again after so long

    @property
    def runners(self) -> int:
        """How many attempts may have a runner: each blocks a few threads."""
        return 4 * (self.slots + self.ahead) + 16


@dataclass(slots=True)
class AttemptTable:
    """Each event sets `now` (monotonic) before it changes anything."""

    now: float = 0.0
    connected: bool = False  # the coordinator has said welcome and was not lost since
    attempts: dict[str, Attempt] = field(default_factory=dict)
    known: set[str] = field(default_factory=set)  # what a sweep must leave alone; another thread may look into it
    over: OrderedDict[str, None] = field(default_factory=OrderedDict)
    timers: Timers = field(default_factory=Timers)
    _out: list[Instruction] = field(default_factory=list)
    _questions: dict[int, tuple[Ask, Callable[[m.Message], None]]] = field(default_factory=dict)
    _numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def instruct(self, instruction: Instruction) -> None:
        """Appends what is to be done."""
        self._out.append(instruction)

    def take(self) -> list[Instruction]:
        """What is to be done since the last call, in order."""
        taken, self._out = self._out, []
        return taken

    def send(self, message: m.Message, payload: bytes | None = None) -> bool:
        """Sends, if connected. Returns whether it was."""
        if self.connected:
            self._out.append(Send(message, payload))
        return self.connected

    def ask(self, kind: type[m.Message], attempt: str, then: Callable[[m.Message], None], after: float = 0.0) -> None:
        """Asks the coordinator about an attempt; `then` gets the answer."""
        question = Ask(next(self._numbers), kind, attempt, after)
        self._questions[question.number] = (question, then)
        self._out.append(question)

    def answered(self, number: int, reply: m.Message) -> None:
        """The answer to a question has come."""
        self._questions.pop(number)[1](reply)

    def refused(self, number: int) -> None:
        """The coordinator could not answer: asks again later."""
        question, then = self._questions.pop(number)
        self.ask(question.kind, question.attempt, then, ASK_AGAIN)

    def add(self, attempt: Attempt) -> None:
        """An attempt is at hand from now on."""
        self.attempts[attempt.id] = attempt
        self.known.add(attempt.id)

    def remember_over(self, attempt: Attempt) -> None:
        """The coordinator has all of it."""
        self.over[attempt.id] = None
        if len(self.over) > REMEMBERED:
            self.over.popitem(last=False)

    def forget(self, attempt: Attempt) -> None:
        """Nothing is left of an attempt here."""
        for timer in (attempt.deadline, attempt.flush):
            if timer:
                timer.cancel()
        del self.attempts[attempt.id]
        self.known.discard(attempt.id)
        self._out.append(Forget(attempt.id))
