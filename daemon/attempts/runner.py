"""One attempt's life, from the image pull to the container's removal, in threads that may block.

An `Actor`: it yields to wait for a message, which releases its thread. It reports to a `RunnerListener`, the worker's
loop. Knows the executor's Protocols and transfers, and decides nothing about slots, dependencies or deadlines.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator, Mapping

import msgspec

from daemon.attempts import hints
from daemon.attempts.log_reader import LogReader
from daemon.attempts.masked_result import without_secrets
from daemon.attempts.preparation import check_capabilities, fetch_workspace
from daemon.attempts.result import Result, ResumePoint, StopReason
from daemon.attempts.runner_messages import Hold, Look, Open, Order, Prefetch, ReadAgain, RunnerListener
from daemon.checkouts.git import Processes
from daemon.checkouts.store import CheckoutStores
from daemon.executors.base import Dependencies, Executor, Interrupted, JobFailed, Outcome, Sandbox, Slot
from daemon.executors.common.clone_path import at_clone_path
from daemon.executors.policy import Policy
from daemon.logs.masking import Masker, secrets_of
from daemon.logs.sender import LogAborted, LogSender
from daemon.reports.reader import Reports
from daemon.reports.upload import add_release, store_reports
from daemon.runtime.actor import Actor
from daemon.runtime.thread_pool import THREADS, Task
from daemon.upstream.transfers import Transfer, TransferAborted
from protocol.backoff import Backoff
from protocol.errors import reason_of
from protocol.messages import Assignment, Dependency
from protocol.statuses import ExecutionStatus, FailureReason
from protocol.views import Capability

REMOVE_TRIES = 8
"""Attempts at a removal, with growing pauses, about four minutes in all; then the sweep takes over."""
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
LOG_ENDS_WITHIN = 0.05
"""Seconds to read the rest of the log after the script, unless the coordinator is slow. Within this time the loop gets
no separate notice of the free slot: the result follows."""

logger = logging.getLogger(__name__)

Keep = Callable[[Assignment, Sandbox, float], float | None]
"""Keeps an ended attempt's container for so many seconds. Returns how many are left, None if there is none to keep."""
_Course = Generator[None, Order | None, None]


class _StopNow(Exception):
    """The attempt is stopped before its script began, or abandoned after."""


class Runner:
    """Runs one attempt. The loop calls the methods that send it a message; they return at once."""

    def __init__(
        self,
        assignment: Assignment,
        executor: Executor,
        transfer: Transfer,
        checkouts: CheckoutStores,
        log: LogSender,
        host: RunnerListener,
        entry: ResumePoint = ResumePoint.NEW,
        *,
        policy: Policy = Policy(),  # noqa: B008  # it can't be changed
        keep: Keep = lambda assignment, sandbox, seconds: None,
    ) -> None:
        assignment = at_clone_path(assignment)
        self.attempt = assignment.attempt
        self.sandbox = executor.sandbox(assignment)
        self._executor = executor
        self._assignment = assignment
        self._transfer = transfer
        self._checkouts = checkouts
        self._log = log
        self._host = host
        self._entry = entry
        self._keep = keep
        self._stop: StopReason | None = None
        self._git = Processes()
        self._opened = False  # the gate: the script may have begun
        self._acknowledged = False
        self._life: Actor[Order] = Actor(f"job {self.attempt}", self._whole_life())
        self._masker = Masker(secrets_of(assignment))
        self._policy = policy
        self._log_reader = LogReader(assignment, self.sandbox, log, self._masker)

    # called by the loop

    def start(self) -> None:
        """Starts the attempt."""
        self._life.begin()

    def go_on(self) -> None:
        """Continues, if no thread was available before."""
        self._life.go_on()

    def hold(self) -> None:
        """The attempt must wait: start its container at the gate."""
        self._life.tell(Hold())

    def prefetch(self, dependency: Dependency) -> None:
        """A dependency has ended: fetch its artifacts, if time allows, before the last one ends."""
        self._life.tell(Prefetch(dependency))

    def open(self, dependencies: list[Dependency], slot: Slot) -> None:
        """Run the job."""
        self._life.tell(Open(dependencies, slot))

    def stop(self, why: StopReason) -> None:
        """Changes the attempt's end. The caller stops a running script, through the sandbox."""
        self._stop = why
        if why is not StopReason.TIMEOUT:
            self._transfer.abort()
            self.sandbox.interrupt()
            if not self._opened:
                self._git.interrupt()
        if why in (StopReason.DISCARD, StopReason.LEAVE):
            self._log.abort()
        self._life.tell(Look())

    def read_again(self) -> None:
        """The log sender was restarted: read the log again, unless that is in progress."""
        self._life.tell(ReadAgain())

    @property
    def assignment(self) -> Assignment:
        """Its assignment, with the final states of its dependencies once it has begun."""
        return self._assignment

    def settle(self) -> None:
        """The final status is acknowledged: remove the rest."""
        self._acknowledged = True
        self._life.tell(Look())

    # in a thread

    def _whole_life(self) -> _Course:
        result = yield from self._result()
        result = result and self._kept(result)
        kept = result is not None and result.kept is not None
        try:
            reported = result and without_secrets(result, self._masker)
        except Exception as error:  # without a result the attempt would run forever
            logger.exception("masking a result failed", extra={"attempt": self.attempt})
            why = f"its result can't be masked ({type(error).__name__})"
            reported = self._failed(FailureReason.RUNNER_SYSTEM_FAILURE, why)
        if reported is not None and self._stop is not StopReason.LEAVE:
            self._host.finished(self.attempt, reported)
            yield from self._await_acknowledgement()
        if self._stop is not StopReason.LEAVE:
            if not kept:
                self._remove()
            self._transfer.close()
            self._host.gone(self.attempt)

    def _result(self) -> Generator[None, Order | None, Result | None]:
        """Its result; None if nothing is to be reported."""
        try:
            if self._entry is ResumePoint.RELEASED:
                return self._finish(None)
            return (yield from self.wait_and_run_dependent_job())
        except (_StopNow, Interrupted, TransferAborted, LogAborted):
            return self._stopped()
        except JobFailed as error:
            if self._git.interrupted:  # whatever lacked its output
                return self._stopped()
            said = {"": error.message.encode()} if error.reason is FailureReason.SERVICE_UNHEALTHY else {}
            return self._failed(error.reason, "; ".join([error.message, *self._hints(said)]))
        except Exception as error:
            logger.exception("an attempt failed on this worker", extra={"attempt": self.attempt})
            return self._failed(FailureReason.RUNNER_SYSTEM_FAILURE, f"{type(error).__name__}: {error}")

    def _kept(self, result: Result) -> Result:
        """The result, with the container kept if its end is one for which the run asks that."""
        asked = self._assignment.keep
        if asked is None or not self._opened or self._stop in (StopReason.CANCEL, StopReason.DISCARD, StopReason.LEAVE):
            return result
        if result.status is not ExecutionStatus.FAILED and not (
            asked.always and result.status is ExecutionStatus.SUCCESS
        ):
            return result
        try:
            seconds = self._keep(self._assignment, self.sandbox, asked.seconds)
            why = "" if seconds is not None else "it has ended"
        except Exception as error:
            logger.exception("keeping a container failed", extra={"attempt": self.attempt})
            seconds, why = None, reason_of(error)
        if seconds is None:
            message = "; ".join(filter(None, [result.message, f"its container can't be kept: {why}"]))
            return msgspec.structs.replace(result, message=message)
        return msgspec.structs.replace(result, kept=seconds)

    @property
    def began(self) -> bool:
        """Whether its gate is open, so that its container can run commands."""
        return self._opened

    def _stopped(self) -> Result | None:
        """The result of an attempt that was stopped before its script's end."""
        if self._stop in (StopReason.CANCEL, StopReason.RETURN) and not self._remove():
            return self._failed(FailureReason.RUNNER_SYSTEM_FAILURE, "its container can't be removed")
        return Result(status=ExecutionStatus.CANCELED) if self._stop is StopReason.CANCEL else None

    def _failed(self, reason: FailureReason, message: str, exit_code: int | None = None) -> Result:
        return Result(
            status=ExecutionStatus.FAILED,
            exit_code=exit_code,
            failure_reason=reason,
            message=message,
            log_length=self._log.end,
        )

    def _check_stop(self) -> None:
        if self._stop is not None:
            raise _StopNow

    def wait_and_run_dependent_job(self) -> Generator[None, Order | None, Result]:
        """Prepares the job, waits for its dependencies and a slot, then runs it."""
        self._check_stop()
        prepared = self._entry is not ResumePoint.NEW or self._prepare_ahead()
        self._host.prepared(self.attempt)
        held = self._entry is ResumePoint.HELD
        while True:
            order = yield
            self._check_stop()
            if isinstance(order, Open):
                if not prepared:
                    self._prepare()
                return self.run_job(order.dependencies, order.slot)
            if isinstance(order, Hold) and prepared and not held:
                self.sandbox.hold()
                held = True
            elif isinstance(order, Prefetch):
                self._prefetch(order.dependency)

    def _prepare(self) -> None:
        check_capabilities(self._assignment, self._executor)
        workspace = None
        if self._assignment.workspace and Capability.FILES in self._executor.capabilities:
            snapshot, project = self._assignment.workspace, self._assignment.project
            workspace = fetch_workspace(snapshot, project, self._transfer, self._checkouts, self._git)
        self._check_stop()
        self.sandbox.prepare(workspace)
        self._check_stop()

    def _prepare_ahead(self) -> bool:
        """Whether it is prepared. Failures do not count yet: a dependency may still build the image, or fail."""
        try:
            self._prepare()
        except JobFailed as error:
            if all(dependency.satisfied for dependency in self._assignment.dependencies):
                raise
            logger.info("preparing ahead failed: %s", self._masker.text(error.message), extra={"attempt": self.attempt})
            return False
        return True

    def _archives(self, dependency: Dependency) -> list[tuple[str, str, int]]:
        return [(dependency.job, ref.digest, ref.size) for ref in dependency.artifacts if ref.kind == "archive"]

    def _prefetch(self, dependency: Dependency) -> None:
        try:
            for archive in self._archives(dependency):
                self._transfer.artifact(*archive)
        except JobFailed as error:  # fails the job only if they are still missing at its start
            logger.info(
                "fetching artifacts ahead failed: %s", self._masker.text(error.message), extra={"attempt": self.attempt}
            )

    def run_job(self, dependencies: list[Dependency], slot: Slot) -> Result:
        """Unpacks the dependencies' artifacts, opens the gate and runs the job to its end."""
        self._assignment = msgspec.structs.replace(self._assignment, dependencies=dependencies)
        archives = [self._transfer.artifact(*one) for dependency in dependencies for one in self._archives(dependency)]
        self._check_stop()
        return self._finish(Dependencies(dependencies, archives, slot))

    def _finish(self, dependencies: Dependencies | None) -> Result:
        """From the gate to the last byte: runs the job, then collects its log and its files."""
        follower: Task | None = None

        def opened() -> None:
            nonlocal follower
            self._opened = True
            if dependencies is not None:
                self._host.started(self.attempt)
            task = Task(self._log_reader.follow, f"log {self.attempt}")
            THREADS.start(task)
            follower = task  # joined only if it could be started

        try:
            outcome = self._executor.execute(self.sandbox, dependencies, opened)
            verdict = self._verdict(outcome)
            if follower is None or self._leaves_something or not follower.returns_within(LOG_ENDS_WITHIN):
                self._host.ended(self.attempt)
            self._check_wanted()
            result, reports = self._take_reports(verdict)
            service_logs = self._service_logs()
        except BaseException:
            self._host.ended(self.attempt)
            self._log_reader.give_up()
            raise
        finally:
            if follower is not None:
                follower.join()
        log_length = self._log_reader.whole()
        if service_logs and self.sandbox.shows_services:
            log_length = self._log_reader.append_services(service_logs, log_length)
        self._check_wanted()
        said = [result.message, reports.failure, reports.warning, *self.sandbox.warnings, self._log_reader.error]
        if result.failure_reason is FailureReason.SCRIPT_FAILURE:
            said[1:1] = self._hints(service_logs)
        messages = dict.fromkeys(filter(None, said))
        return msgspec.structs.replace(
            result,
            message="; ".join(messages) or None,
            log_length=log_length,
            artifacts=reports.artifacts,
            dotenv=reports.dotenv,
            tests=reports.tests,
            test_results=reports.test_results,
            reports=reports.shown,
            coverage=self._log_reader.coverage(resumed=self._entry is ResumePoint.RELEASED),
            release=reports.release if result.status is ExecutionStatus.SUCCESS else None,
            pages=reports.pages,
        )

    @property
    def _leaves_something(self) -> bool:
        """Whether the job has more to collect than a log."""
        job = self._assignment.job
        return bool(job.artifacts or job.caches or job.services or job.release)

    def _check_wanted(self) -> None:
        if self._stop in (StopReason.DISCARD, StopReason.LEAVE):
            raise _StopNow

    def _verdict(self, outcome: Outcome) -> Result:
        """The result for the container's end and the stop reason, if any."""
        if self._stop is StopReason.CANCEL:
            return Result(status=ExecutionStatus.CANCELED)
        if self._stop is StopReason.TIMEOUT:
            message = f"it exceeded its timeout of {self._assignment.job.timeout:g} s"
            return self._failed(FailureReason.JOB_EXECUTION_TIMEOUT, message)
        if self._stop is StopReason.LEASE:
            message = f"stopped: no contact with the coordinator for {self._assignment.lease:g} s"
            return self._failed(FailureReason.RUNNER_SYSTEM_FAILURE, message)
        if outcome.expired:
            message = "the script exceeded RUNNER_SCRIPT_TIMEOUT"
            return self._failed(FailureReason.JOB_EXECUTION_TIMEOUT, message, outcome.exit_code or None)
        if outcome.failure:  # overrides the exit code: a killed engine reports 0
            return self._failed(FailureReason.RUNNER_SYSTEM_FAILURE, outcome.failure, outcome.exit_code)
        if outcome.exit_code == 0:
            return Result(status=ExecutionStatus.SUCCESS, exit_code=0)
        if outcome.oom_killed:
            return self._failed(FailureReason.OOM_KILLED, "it ran out of memory", outcome.exit_code)
        return self._failed(FailureReason.SCRIPT_FAILURE, f"exit code {outcome.exit_code}", outcome.exit_code)

    def _take_reports(self, result: Result) -> tuple[Result, Reports]:
        """Stores the job's files; if that fails, an otherwise successful job fails with it."""
        job = self._assignment.job
        if self._stop in (StopReason.CANCEL, StopReason.LEASE) or not (job.artifacts or job.caches or job.release):
            return result, Reports()
        succeeded = result.status is ExecutionStatus.SUCCESS
        scratch = self._transfer.scratch()
        try:
            collected = self.sandbox.collect(scratch, succeeded=succeeded)
            reports = store_reports(collected, self._transfer, self._masker, self._assignment)
            if job.release is not None and succeeded:
                add_release(job.release, self.sandbox.expand, collected, reports)
        except JobFailed as error:
            if succeeded:
                return self._failed(error.reason, error.message, result.exit_code), Reports()
            return result, Reports(warning=error.message)
        if reports.failure and succeeded:
            result = self._failed(FailureReason.SCRIPT_FAILURE, reports.failure, result.exit_code)
        return result, reports

    def _service_logs(self) -> dict[str, bytes]:
        """Best effort: a service's log helps troubleshooting, and decides nothing."""
        logs: dict[str, bytes] = {}
        try:
            for alias, data in self.sandbox.service_logs().items():
                if not self._masker.hides(alias):
                    logs[alias] = self._masker.whole(data)
                    self._host.service_log(self.attempt, alias, logs[alias])
        except Exception as error:
            logger.warning("reading service logs failed: %r", error, extra={"attempt": self.attempt})
        return logs

    def _hints(self, service_logs: Mapping[str, bytes]) -> list[str]:
        """Worker options that would have let the job get further."""
        images = [service.name for service in self._assignment.job.services]
        return hints.hints(self._policy, self._log_reader.end(), service_logs, images)

    def _await_acknowledgement(self) -> _Course:
        """Keeps the container until the coordinator has taken the result: its log is the spool."""
        while not self._acknowledged and self._stop not in (StopReason.DISCARD, StopReason.LEAVE):
            if isinstance((yield), ReadAgain):
                self._log_reader.follow()

    def _remove(self) -> bool:
        """Removes everything of the attempt. Returns False if the engine keeps failing."""
        backoff = Backoff(FIRST_PAUSE, LONGEST_PAUSE)
        for _ in range(REMOVE_TRIES):
            if self._stop is StopReason.LEAVE:
                return False
            try:
                self.sandbox.remove()
                return True
            except Exception as error:
                logger.warning("removing an attempt failed: %r", error, extra={"attempt": self.attempt})
                time.sleep(backoff.pause())
        return False
