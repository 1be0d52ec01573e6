"""What the loop knows of an attempt: what is still to be acknowledged, and when it is sent again."""

from __future__ import annotations

from daemon.attempts.attempt import Attempt
from daemon.attempts.result import Result
from daemon.attempts.status_reporter import in_frames
from daemon.logs.sender import LogSender
from protocol import messages as m
from protocol.statuses import ExecutionStatus as S
from tests.support.plans import assignment

PATIENCE = 5.0


def job() -> Attempt:
    return Attempt(assignment("noop", attempt="1.1"), LogSender(lambda: None), seq=0)


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


def test_short_statuses_go_together_and_a_long_one_by_itself_all_in_order() -> None:
    one = job()
    for number in range(m.MOST_STATUSES + 5):
        long = number == 3
        one.report(S.RUNNING, 0.0, Result(status=S.SUCCESS, message="it says much") if long else None)
    frames = list(in_frames([(one, report) for report in one.reports]))
    assert [len(together) for together in frames] == [3, 1, m.MOST_STATUSES, 1]
    assert [report.seq for together in frames for _, report in together] == [report.seq for report in one.reports]


def test_nothing_is_overdue_when_all_is_acknowledged() -> None:
    one = job()
    one.report(S.RUNNING, 0.0)
    one.send(lambda message, payload: True, 0.0)
    one.acknowledged(seq=one.seq, log_offset=None, now=1.0)
    assert not one.overdue(1000.0, PATIENCE)
