"""A worker's core with everything around it played: runners, engine, coordinator, a lossy line, time.

Nothing happens by itself: a test says which step comes next. What the core must never do is asserted where it would
show.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from functools import partial

from daemon.attempts import instructions as i
from daemon.attempts.machine import AttemptMachine
from daemon.attempts.result import Result, ResumePoint, StopReason
from daemon.attempts.table import CoreSettings
from daemon.executors.base import Found, Slot
from daemon.logs.sender import LogSender
from protocol import messages as m
from protocol.statuses import ENDED
from protocol.statuses import ExecutionStatus as S
from tests.support.plans import assignment

SETTINGS = CoreSettings(slots=2, ahead=2, grace=10.0, after_script_timeout=300.0, holds=True, ack_timeout=5.0)
LINE = b"a line\n"


@dataclass
class Box:
    """A container: it outlives the daemon."""

    assignment: m.Assignment
    state: str = "created"  # created, held, running, exited
    log: bytes = b""
    killed: bool = False
    slot: Slot | None = None


@dataclass
class PlayedRunner:
    """One attempt's runner: what it was told, and how far it is."""

    assignment: m.Assignment
    log: LogSender
    resumed: ResumePoint
    phase: str = "new"  # new, prepared, opened, running, ended, finished
    stop: StopReason | None = None
    settled: bool = False
    written: int = 0  # bytes of the container's log that were given to `log`


@dataclass
class Seen:
    """One attempt as the coordinator has it."""

    assignment: m.Assignment
    seq: int = 0
    status: S = S.PENDING
    log: bytes = b""
    life: int = 0  # of the daemon to which it was last assigned
    returned: bool = False
    revoked: bool = False  # asked back: it is not assigned again before the answer
    dropped: bool = False  # the coordinator wants nothing of it any more

    @property
    def wanted(self) -> bool:
        """Whether the coordinator still waits for its end."""
        return not (self.returned or self.dropped or self.status in ENDED)


@dataclass
class WorkerSimulation:
    """Steps are methods; each carries out what the core then wants."""

    now: float = 1000.0
    machine: AttemptMachine = field(init=False)
    boxes: dict[str, Box] = field(default_factory=dict)
    runners: dict[str, PlayedRunner] = field(default_factory=dict)
    logs: dict[str, LogSender] = field(default_factory=dict)
    line: deque[tuple[m.Message, bytes | None]] = field(default_factory=deque)  # to the coordinator
    questions: deque[i.Ask] = field(default_factory=deque)
    removals: deque[i.GiveUpLeftover] = field(default_factory=deque)
    seen: dict[str, Seen] = field(default_factory=dict)
    opened: Counter[str] = field(default_factory=Counter)  # gates opened, over all lives of the daemon
    connected: bool = False
    lives: int = 0

    def __post_init__(self) -> None:
        self.begin()

    # the daemon's life

    def begin(self) -> None:
        """A daemon starts, and finds what the one before has left."""
        self.lives += 1
        self.connected = False
        self.runners, self.logs = {}, {}
        for queue in (self.line, self.questions, self.removals):
            queue.clear()
        self.machine = AttemptMachine(SETTINGS, self._open_log, first_seq=self.lives * 1_000_000)
        self.machine.found(
            [Found(attempt, box.state, self.now, box.assignment.lease, box.slot) for attempt, box in self.boxes.items()]
        )

    def _open_log(self, attempt: str) -> LogSender:
        log = self.logs[attempt] = LogSender(partial(self._log_ready, attempt))
        return log

    def _log_ready(self, attempt: str) -> None:
        self.machine.log_ready(attempt, self.now)

    def carry_out(self) -> None:
        """Does what the core wants, and ends the turn."""
        self.machine.flush(self.now)
        while instructions := self.machine.take():
            for instruction in instructions:
                self._carry_out(instruction)

    def _carry_out(self, instruction: i.Instruction) -> None:
        match instruction:
            case i.Send():
                self._check_sent(instruction.message)
                self.line.append((instruction.message, instruction.payload))
            case i.Ask():
                self.questions.append(instruction)
            case i.StartRunner():
                attempt = instruction.attempt
                assert attempt not in self.runners, "an attempt has one runner"
                runner = PlayedRunner(instruction.assignment, self.logs[attempt], instruction.resume_point)
                if instruction.resume_point is ResumePoint.RELEASED:
                    runner.phase = "running"
                    runner.written = runner.log.resume()
                self.runners[attempt] = runner
            case i.OpenGate():
                runner = self.runners[instruction.attempt]
                assert runner.phase == "prepared", "only a prepared job runs"
                assert all(one.satisfied for one in instruction.dependencies), "a job runs after what it needs"
                assert not self.seen[instruction.attempt].returned, "an attempt that was given back never runs"
                runner.phase = "opened"
                self.boxes[instruction.attempt].slot = instruction.slot
            case i.HoldAtGate():
                self.boxes[instruction.attempt].state = "held"
            case i.StopRunner():
                self.runners[instruction.attempt].stop = instruction.reason
            case i.StopScript() | i.Kill():
                if box := self.boxes.get(instruction.attempt):
                    box.killed = True
            case i.ReadLogAgain():
                runner = self.runners[instruction.attempt]
                runner.written = runner.log.resume()
            case i.Settle():
                self.runners[instruction.attempt].settled = True
            case i.Forget():
                self.runners.pop(instruction.attempt, None)
                del self.logs[instruction.attempt]
            case i.DiscardLeftover():
                self.boxes.pop(instruction.attempt, None)
            case i.GiveUpLeftover():
                self.removals.append(instruction)
            case i.Prefetch() | i.Prolong():
                pass

    def _check_sent(self, message: m.Message) -> None:
        statuses = message.statuses if isinstance(message, m.JobStatuses) else [message]
        for status in statuses:
            if isinstance(status, m.JobStatus) and status.status in ENDED:
                sent = self.logs[status.attempt].sent
                assert sent >= (status.log_length or 0), "a log is sent before the final status"

    # what runners do

    def step_runner(self, attempt: str, *, exit_code: int = 0) -> None:
        """A runner comes one step further, if it can."""
        runner = self.runners[attempt]
        stop, box = runner.stop, self.boxes.get(attempt)
        if runner.phase in ("new", "prepared") and stop is not None:
            self._vanish(attempt, runner)
        elif runner.phase == "new":
            if box is None:
                self.boxes[attempt] = Box(runner.assignment)
            runner.phase = "prepared"
            self.machine.prepared(attempt, self.now)
        elif runner.phase == "opened":
            assert box is not None
            box.state = "running"
            self.opened[attempt] += 1
            runner.phase = "running"
            self.machine.started(attempt, None, self.now)
        elif runner.phase == "running":
            assert box is not None
            box.state = "exited"
            runner.phase = "ended"
            self.machine.ended(attempt, self.now)
        elif runner.phase == "ended":
            self._finish(attempt, runner, exit_code)
        elif runner.phase == "finished" and (runner.settled or stop is StopReason.DISCARD):
            self._remove(attempt)
        self.carry_out()

    def _vanish(self, attempt: str, runner: PlayedRunner) -> None:
        self.boxes.pop(attempt, None)
        if runner.stop is StopReason.CANCEL and not runner.settled:
            runner.phase = "finished"
            self.machine.finished(attempt, Result(status=S.CANCELED), self.now)
        else:
            self._remove(attempt)

    def _finish(self, attempt: str, runner: PlayedRunner, exit_code: int) -> None:
        self._read_log(attempt)
        if runner.stop in (StopReason.DISCARD, StopReason.LEAVE):
            self._remove(attempt)
            return
        runner.phase = "finished"
        status = S.CANCELED if runner.stop is StopReason.CANCEL else S.FAILED if exit_code else S.SUCCESS
        self.machine.finished(attempt, Result(status=status, exit_code=exit_code, log_length=runner.log.end), self.now)

    def _remove(self, attempt: str) -> None:
        self.boxes.pop(attempt, None)
        self.machine.gone(attempt, self.now)

    def write(self, attempt: str) -> None:
        """A running script prints a line."""
        box = self.boxes[attempt]
        if box.state == "running":
            box.log += LINE
            self._read_log(attempt)
            self.carry_out()

    def _read_log(self, attempt: str) -> None:
        if (runner := self.runners.get(attempt)) and (box := self.boxes.get(attempt)):
            new = box.log[runner.written :]
            runner.written += len(new)
            runner.log.write(new, self.now)

    # what the coordinator does

    def assign(self, attempt: str, *, needs: bool = False, lease: float | None = None) -> None:
        """The coordinator assigns an attempt, or says so again."""
        if attempt not in self.seen:
            waits = [m.Dependency(job="a", status=S.RUNNING, satisfied=False)] if needs else []
            self.seen[attempt] = Seen(assignment("noop", attempt=attempt, waits_for=waits, lease=lease))
        seen = self.seen[attempt]
        late = seen.status in ENDED and seen.life == self.lives  # a frame that was long under way
        if self.connected and not seen.revoked and (seen.wanted or late):
            seen.life = self.lives
            self.machine.execute_job(seen.assignment, self.now)
            self.carry_out()

    def satisfy(self, attempt: str) -> None:
        """What an attempt needs has ended; the push may get lost."""
        done = [m.Dependency(job="a", status=S.SUCCESS, satisfied=True)]
        if self.seen[attempt].assignment.dependencies:
            self.seen[attempt].assignment.dependencies[:] = done
            if self.connected:
                self.machine.update_dependency(attempt, done[0], self.now)
                self.carry_out()

    def ask_for(self, attempt: str, what: str) -> None:
        """`cancel`, `revoke` or `discard`; lost without a connection."""
        if self.connected:
            if what == "discard":
                self.seen[attempt].dropped = True
            if what == "revoke":
                self.seen[attempt].revoked = True
            getattr(self.machine, what)(attempt, self.now)
            self.carry_out()

    def deliver(self) -> None:
        """The coordinator takes the next message and acknowledges it."""
        if not self.line:
            return
        message, payload = self.line.popleft()
        match message:
            case m.JobStatuses():
                for status in message.statuses:
                    self._status(status)
            case m.JobStatus():
                self._status(message)
            case m.LogChunk():
                seen = self.seen[message.attempt]
                if message.offset <= len(seen.log):
                    seen.log += (payload or b"")[len(seen.log) - message.offset :]
                self._acknowledge(message.attempt)
            case m.JobReturned():
                seen = self.seen[message.attempt]
                assert not self.opened[message.attempt] or seen.assignment.lease is not None, "what ran is not returned"
                seen.returned = True
        self.carry_out()

    def _status(self, status: m.JobStatus) -> None:
        seen = self.seen[status.attempt]
        final = status.status in ENDED
        if status.seq > seen.seq and not (final and (status.log_length or 0) > len(seen.log)):
            assert seen.status not in ENDED, "nothing comes after a final status"
            seen.seq, seen.status = status.seq, status.status
            seen.revoked = seen.revoked and status.status is not S.RUNNING
        self._acknowledge(status.attempt)

    def _acknowledge(self, attempt: str) -> None:
        seen = self.seen[attempt]
        if self.connected:
            ack = m.Ack(attempt=attempt, stream="job", status_seq=seen.seq, log_offset=len(seen.log))
            self.machine.acknowledge(ack, self.now)

    def lose(self) -> None:
        """The next message is lost on its way."""
        if self.line:
            self.line.popleft()

    def answer(self, *, refuse: bool = False) -> None:
        """The coordinator answers the next question."""
        if not self.connected or not self.questions:
            return
        question = self.questions.popleft()
        if refuse:
            self.machine.refused(question.number, self.now)
        else:
            self.machine.answered(question.number, self._reply(question), self.now)
        self.carry_out()

    def _reply(self, question: i.Ask) -> m.Message:
        seen = self.seen[question.attempt]
        if question.kind is m.GetJobExecution:
            return m.JobExecution(id=question.number, assignment=seen.assignment if seen.wanted else None)
        if question.kind is m.GetJobDependencies:
            return m.JobDependencies(
                id=question.number, attempt=question.attempt, dependencies=seen.assignment.dependencies
            )
        return m.JobStatusReply(
            id=question.number,
            attempt=question.attempt,
            status=seen.status,
            status_seq=seen.seq,
            log_offset=len(seen.log),
            wanted=seen.wanted,
        )

    def give_up(self, *, removed: bool = True) -> None:
        """What an earlier life left and must not go on is removed, or could not be."""
        if self.removals:
            attempt = self.removals.popleft().attempt
            if removed:
                self.boxes.pop(attempt, None)
            self.machine.gave_up(attempt, removed, self.now)
            self.carry_out()

    # the line and the clock

    def disconnect(self) -> None:
        """The connection is lost with all that is on it."""
        if self.connected:
            self.connected = False
            self.line.clear()
            self.machine.disconnected()

    def connect(self) -> None:
        """A hello and its welcome, which keeps what is wanted and not over."""
        if self.connected:
            return
        listed = {one.attempt for one in self.machine.held()}
        keep = {attempt for attempt in listed if self.seen[attempt].wanted}
        self.connected = True
        self.machine.welcomed(keep, listed, self.now)
        self.carry_out()
        self.heartbeat()

    def heartbeat(self) -> None:
        """The worker says what it has. What is wanted and not there is assigned once more; what was revoked is back."""
        held = {one.attempt for one in self.machine.held()}
        if self.connected and not self.line:
            for attempt in [one for one, seen in self.seen.items() if seen.wanted and one not in held]:
                if self.seen[attempt].revoked:
                    self.seen[attempt].returned = True
                else:
                    self.assign(attempt)
            for attempt in [one for one in held if self.seen[one].returned or self.seen[one].dropped]:
                self.machine.discard(attempt, self.now)
                self.carry_out()

    def pass_time(self, seconds: float) -> None:
        """Time passes; without a connection leases run out."""
        self.now += seconds
        self.machine.wake(self.now)
        self.machine.tick(self.now if self.connected else self.now - seconds, self.now)
        self.carry_out()
