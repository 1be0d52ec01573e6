"""Connects the worker's core to the outside: feeds events to `machine` and carries out its instructions.

Runs in the worker's loop and never blocks: runners and engine calls have their own threads. Decides nothing.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any

from daemon.attempts import instructions as i
from daemon.attempts.machine import AttemptMachine
from daemon.attempts.observation import Observers
from daemon.attempts.result import Result, ResumePoint
from daemon.attempts.runner import Runner
from daemon.attempts.table import CoreSettings
from daemon.checkouts.store import CheckoutStores
from daemon.executors.base import Executor, JobFailed, Sandbox
from daemon.logs.sender import LogSender
from daemon.people.kept_containers import KeptContainers
from daemon.runtime.thread_pool import run_in_background
from daemon.runtime.timers import Timers
from daemon.settings import WorkerSettings
from daemon.upstream.requests import Answer, Refused, Requests
from daemon.upstream.transfers import Transfers
from protocol import messages as m
from protocol.statuses import FailureReason
from protocol.views import Capability

logger = logging.getLogger(__name__)


class AttemptManager:
    """The worker's attempts. Also the `RunnerListener` of their runners, whose calls arrive through `post`.

    `send` sends a message to the coordinator, `beat` a heartbeat; `timers` belong to the worker's loop.
    """

    def __init__(
        self,
        settings: WorkerSettings,
        executor: Executor,
        transfers: Transfers,
        checkouts: CheckoutStores,
        requests: Requests,
        timers: Timers,
        send: Callable[[m.Message, bytes | None], bool],
        beat: Callable[[], None],
        post: Callable[..., None],
        observers: Observers,
        kept: KeptContainers,
    ) -> None:
        self._policy = settings.policy
        self._executor = executor
        self._transfers = transfers
        self._checkouts = checkouts
        self._requests = requests
        self._timers = timers
        self._send = send
        self._beat = beat
        self._post = post
        self._observers = observers
        self._kept = kept
        self._runners: dict[str, Runner] = {}
        self._logs: dict[str, LogSender] = {}
        core = CoreSettings(
            slots=settings.slots,
            ahead=settings.held_at_most,
            grace=settings.grace,
            after_script_timeout=settings.after_script_timeout,
            holds=Capability.HOLD in executor.capabilities,
            ack_timeout=settings.ack_timeout,
        )
        self.machine = AttemptMachine(core, self._open_log, first_seq=int(time.time() * 1000))
        self._carry_out: dict[type, Callable[[Any], object]] = {
            i.Send: lambda one: self._send(one.message, one.payload),
            i.Ask: self._ask,
            i.StartRunner: self._start,
            i.HoldAtGate: self._with_runner(lambda runner, _: runner.hold()),
            i.Prefetch: self._with_runner(lambda runner, one: runner.prefetch(one.dependency)),
            i.OpenGate: self._with_runner(lambda runner, one: runner.open(one.dependencies, one.slot)),
            i.StopRunner: self._with_runner(lambda runner, one: runner.stop(one.reason)),
            i.StopScript: self._with_runner(_stop_script),
            i.Kill: self._with_runner(lambda runner, _: run_in_background(runner.sandbox.kill)),
            i.Prolong: self._with_runner(lambda runner, one: run_in_background(runner.sandbox.prolong, one.seconds)),
            i.ReadLogAgain: self._with_runner(lambda runner, _: runner.read_again()),
            i.Settle: self._with_runner(self._settle),
            i.Forget: self._forget,
            i.DiscardLeftover: self._discard_leftover,
            i.GiveUpLeftover: lambda one: run_in_background(self._give_up, one.attempt),
        }

    # events

    def find(self) -> None:
        """At the start: finds containers of an earlier process. Blocks. Also those that are kept: the coordinator may
        not have the end of such an attempt yet.
        """
        found = self._executor.find()
        self._kept.find(found)
        self.machine.found(found)

    def feed(self, event: Callable[..., None], *arguments: Any) -> None:
        """Passes an event to the machine at the current time, and carries out the resulting instructions."""
        try:
            event(*arguments, time.monotonic())
        finally:
            self.carry_out()

    def carry_out(self) -> None:
        """Carries out the machine's instructions, and those that follow from them. A failed one doesn't stop others."""
        while instructions := self.machine.take():
            began = time.monotonic() if self._observers else 0.0
            for instruction in instructions:
                try:
                    self._carry_out[type(instruction)](instruction)
                except Exception:
                    logger.exception("%s failed", type(instruction).__name__)
            if self._observers:
                self._observers.turn_settled(instructions, began, time.monotonic())

    def tick(self, renewed_at: float) -> None:
        """About once a second. Runners that got no thread try again."""
        for runner in self._runners.values():
            runner.go_on()
        self.feed(self.machine.tick, renewed_at)

    def container_of(self, attempt: str) -> tuple[Sandbox, m.Assignment] | None:
        """The container of an attempt that runs or is kept; None if there is none here."""
        runner = self._runners.get(attempt)
        if runner is not None and runner.began:
            return runner.sandbox, runner.assignment
        return self._kept.sandbox(attempt)

    # instructions

    def _ask(self, question: i.Ask) -> None:
        def answered(future: Future[Answer]) -> None:
            try:
                reply = future.result()[0]
            except Refused as error:
                logger.warning("%s was refused: %s", question.kind.__name__, error, extra={"attempt": question.attempt})
                self.feed(self.machine.refused, question.number)
            else:
                self.feed(self.machine.answered, question.number, reply)

        future = self._requests.call(question.kind, attempt=question.attempt, after=question.after)
        future.add_done_callback(answered)

    def _with_runner(self, action: Callable[[Runner, Any], None]) -> Callable[[Any], None]:
        """An instruction to a runner; dropped if the attempt has no runner."""

        def carry_out(instruction: Any) -> None:
            if runner := self._runners.get(instruction.attempt):
                action(runner, instruction)

        return carry_out

    def _start(self, start: i.StartRunner) -> None:
        attempt = start.attempt
        try:
            transfer = self._transfers.open(attempt)
            log = self._logs[attempt]
            runner = Runner(
                start.assignment,
                self._executor,
                transfer,
                self._checkouts,
                log,
                self,
                start.resume_point,
                policy=self._policy,
                keep=self._kept.keep,
            )
        except JobFailed as error:
            self.machine.failed_to_start(attempt, error.reason, error.message, time.monotonic())
        except Exception as error:
            logger.exception("starting an attempt failed", extra={"attempt": attempt})
            message = f"{type(error).__name__}: {error}"
            self.machine.failed_to_start(attempt, FailureReason.RUNNER_SYSTEM_FAILURE, message, time.monotonic())
        else:
            self._runners[attempt] = runner
            if start.resume_point is ResumePoint.RELEASED:
                self.machine.took_up(attempt, runner.sandbox.after_seconds, time.monotonic())
            runner.start()

    def _settle(self, runner: Runner, settle: i.Settle) -> None:
        remove_at = settle.finished_at + runner.sandbox.lingers
        if remove_at > time.monotonic():
            self._timers.at(remove_at, runner.settle)
        else:
            runner.settle()

    def _forget(self, forget: i.Forget) -> None:
        self._runners.pop(forget.attempt, None)
        del self._logs[forget.attempt]

    def _discard_leftover(self, discard: i.DiscardLeftover) -> None:
        """A kept one is not wanted as an attempt any more, and stays."""
        if discard.attempt not in self._kept:
            run_in_background(self._executor.discard, discard.attempt)

    def _give_up(self, attempt: str) -> None:
        """Runs in its own thread."""
        removed = False
        try:
            if attempt not in self._kept:
                self._executor.discard(attempt)
            removed = True
        finally:
            self._post(self.feed, self.machine.gave_up, attempt, removed)

    def _open_log(self, attempt: str) -> LogSender:
        log = self._logs[attempt] = LogSender(partial(self._post, self.feed, self.machine.log_ready, attempt))
        return log

    # news from runners (any thread)

    def prepared(self, attempt: str) -> None:
        """See RunnerListener."""
        self._post(self.feed, self.machine.prepared, attempt)

    def started(self, attempt: str) -> None:
        """See RunnerListener."""
        self._post(self.feed, self.machine.started, attempt, self._runners[attempt].sandbox.after_seconds)

    def ended(self, attempt: str) -> None:
        """See RunnerListener."""
        self._post(self.feed, self.machine.ended, attempt)

    def finished(self, attempt: str, result: Result) -> None:
        """See RunnerListener. The coordinator first hears of a full disk, so that a retry goes to another worker."""
        if result.failure_reason is FailureReason.RUNNER_SYSTEM_FAILURE:
            self._post(self._beat)
        self._post(self.feed, self.machine.finished, attempt, result)

    def service_log(self, attempt: str, alias: str, data: bytes) -> None:
        """See RunnerListener."""
        self._post(self.feed, self.machine.service_log, attempt, alias, data)

    def gone(self, attempt: str) -> None:
        """See RunnerListener."""
        self._post(self.feed, self.machine.gone, attempt)


def _stop_script(runner: Runner, stop: i.StopScript) -> None:
    run_in_background(lambda: runner.sandbox.stop(stop.grace, canceled=stop.canceled))
