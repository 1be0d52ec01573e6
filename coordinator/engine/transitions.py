"""The transition table of job statuses. Pure.

Two rules: only `Ledger.move` changes a job's status; an event without an entry for the current status raises
`IllegalTransition`, which names job, status and event. The diagram in docs/statuses.md is drawn from `TABLE`.
"""

from __future__ import annotations

from enum import Enum

from protocol.statuses import ExecutionStatus as S


class JobEvent(str, Enum):
    """Events that change a job's status."""

    QUEUE = "queue"  # its conditions are met: it may run
    ASK = "ask"  # it may run once it is played (when: manual)
    DELAY = "delay"  # it may run after its delay (when: delayed)
    HOLD = "hold"  # a worker holds it ahead of its needs
    PREPARE = "prepare"  # a worker prepares it
    START = "start"  # its script has started
    SUCCEED = "succeed"
    FAIL = "fail"
    CANCEL = "cancel"
    SKIP = "skip"  # the outcome of its dependencies does not match its `when`
    MIRROR = "mirror"  # the child run that it mirrors was skipped
    REQUEUE = "requeue"  # its attempt was returned or is retried automatically
    WITHDRAW = "withdraw"  # its attempt was returned before its needs ended
    RESET = "reset"  # it runs again, because it or a job that it depends on was retried


_ENDS = {JobEvent.SUCCEED: S.SUCCESS, JobEvent.FAIL: S.FAILED, JobEvent.CANCEL: S.CANCELED}
_AT_WORKER = {**_ENDS, JobEvent.REQUEUE: S.PENDING, JobEvent.WITHDRAW: S.CREATED, JobEvent.SKIP: S.SKIPPED}

TABLE: dict[S, dict[JobEvent, S]] = {
    S.CREATED: {
        JobEvent.QUEUE: S.PENDING,
        JobEvent.ASK: S.MANUAL,
        JobEvent.DELAY: S.SCHEDULED,
        JobEvent.HOLD: S.WAITING,
        JobEvent.PREPARE: S.PREPARING,
        JobEvent.SKIP: S.SKIPPED,
        JobEvent.CANCEL: S.CANCELED,
        JobEvent.FAIL: S.FAILED,
        JobEvent.WITHDRAW: S.CREATED,
    },
    S.MANUAL: {JobEvent.QUEUE: S.PENDING, JobEvent.CANCEL: S.CANCELED, JobEvent.SKIP: S.SKIPPED},
    S.SCHEDULED: {JobEvent.QUEUE: S.PENDING, JobEvent.CANCEL: S.CANCELED, JobEvent.SKIP: S.SKIPPED},
    S.PENDING: {
        **_AT_WORKER,
        JobEvent.HOLD: S.WAITING,
        JobEvent.PREPARE: S.PREPARING,
        JobEvent.START: S.RUNNING,
    },
    S.WAITING: {**_AT_WORKER, JobEvent.PREPARE: S.PREPARING, JobEvent.START: S.RUNNING},
    S.PREPARING: {**_AT_WORKER, JobEvent.HOLD: S.WAITING, JobEvent.START: S.RUNNING},
    S.RUNNING: {**_ENDS, JobEvent.REQUEUE: S.PENDING, JobEvent.MIRROR: S.SKIPPED},
    S.SUCCESS: {JobEvent.RESET: S.CREATED},
    S.FAILED: {JobEvent.RESET: S.CREATED},
    S.CANCELED: {JobEvent.RESET: S.CREATED},
    S.SKIPPED: {JobEvent.RESET: S.CREATED},
}
"""Status -> event -> new status."""


class IllegalTransition(Exception):
    """An event without an entry for the job's status; the message includes the job's latest story."""

    def __init__(self, job: str, status: S, event: JobEvent, story: list[str]) -> None:
        super().__init__(f"job {job}: {event.value!r} can't happen in status {status.value!r}; before: {story}")
        self.status = status
        self.event = event


def may(status: S, event: JobEvent) -> bool:
    """Whether the table has an entry for the event in this status."""
    return event in TABLE[status]


def mermaid() -> str:
    """The table as a Mermaid state diagram, for docs/statuses.md."""
    lines = ["stateDiagram-v2", f"    [*] --> {S.CREATED.value}"]
    for status, events in TABLE.items():
        by_target: dict[S, list[str]] = {}
        for event, target in events.items():
            by_target.setdefault(target, []).append(event.value)
        lines += [f"    {status.value} --> {target.value}: {', '.join(names)}" for target, names in by_target.items()]
    return "\n".join(lines)
