"""What the loop knows of an attempt: what is still to be acknowledged, and when it is sent again."""

from __future__ import annotations

from daemon.job import Job
from daemon.log_sender import LogSender
from daemon.result import Result
from protocol import messages as m
from protocol.statuses import ExecutionStatus as S
from tests.daemon.scripted import assignment

PATIENCE = 5.0


def job() -> Job:
    return Job(assignment("1.1"), LogSender(lambda: None), seq=0)


def test_a_status_that_could_not_even_be_sent_is_sent_again_though_nothing_waits_for_an_acknowledgement() -> None:
    sent: list[m.Message] = []

    def send(message: m.Message, payload: bytes | None) -> bool:
        sent.append(message)
        return True

    one = job()
    one.report(S.SUCCESS, 0.0, Result(status=S.SUCCESS))
    one.send(lambda message, payload: False, 0.0)
    assert not one.overdue(PATIENCE - 1, PATIENCE)
    assert one.overdue(PATIENCE, PATIENCE)
    one.send_again(send, PATIENCE)
    assert [message.status for message in sent if isinstance(message, m.JobStatus)] == [S.SUCCESS]


def test_nothing_is_overdue_when_all_is_acknowledged() -> None:
    one = job()
    one.report(S.RUNNING, 0.0)
    one.send(lambda message, payload: True, 0.0)
    one.acknowledged(seq=one.seq, log_offset=None, now=1.0)
    assert not one.overdue(1000.0, PATIENCE)
