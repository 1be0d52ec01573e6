"""The loop's small parts: mailbox, timers, requests."""

from __future__ import annotations

import select
import threading

import pytest

from daemon.runtime.mailbox import Mailbox
from daemon.runtime.timers import Timers
from daemon.upstream.requests import BUSY_WAIT, RESEND_AFTER, Refused, Requests
from protocol import messages as m


def test_every_posted_call_arrives_once_and_in_order_and_wakes_the_loop() -> None:
    mailbox = Mailbox()
    taken: list[tuple[int, int]] = []

    def post(thread: int) -> None:
        for number in range(2000):
            mailbox.post(lambda *call: taken.append(call), thread, number)

    threads = [threading.Thread(target=post, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    while len(taken) < 8000:
        assert select.select([mailbox], [], [], 5)[0], f"nobody woke the loop; {len(taken)} calls came"
        for function, arguments in mailbox.drain():
            function(*arguments)
    for thread in threads:
        thread.join()
    for number in range(4):
        assert [call for call in taken if call[0] == number] == [(number, index) for index in range(2000)]
    mailbox.drain()
    assert not select.select([mailbox], [], [], 0)[0], "an empty mailbox keeps nobody awake"
    mailbox.close()
    mailbox.post(print)  # a thread that outlives the loop does no harm


def test_timers_are_due_in_order_and_canceled_ones_never() -> None:
    timers, called = Timers(), []
    timers.at(2.0, lambda: called.append("b"))
    timers.at(1.0, lambda: called.append("a"))
    canceled = timers.at(0.5, lambda: called.append("never"))
    timers.at(3.0, lambda: called.append("c"))
    canceled.cancel()
    assert timers.next() == 1.0
    for action in timers.due(2.5):
        action()
    assert called == ["a", "b"]
    assert timers.next() == 3.0
    assert timers.due(2.5) == []


class Desk:
    """Requests with a clock and a wire that the test holds."""

    def __init__(self) -> None:
        self.now = 0.0
        self.sent: list[m.Message] = []
        self.requests = Requests(
            lambda function, *arguments: function(*arguments),
            lambda message, _: self.sent.append(message),
            lambda: self.now,
        )

    def reply(self, id: int) -> m.Message:
        return m.JobExecution(id=id, assignment=None)


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_a_request_waits_for_the_connection_and_is_sent_again_after_a_new_one(desk: Desk) -> None:
    future = desk.requests.call(m.GetJobExecution, attempt="1.1")
    assert desk.sent == []
    desk.requests.connected()
    desk.requests.disconnected()
    desk.requests.tick(desk.now + 100)
    assert len(desk.sent) == 1
    desk.requests.connected()
    assert [getattr(message, "id", None) for message in desk.sent] == [1, 1]
    desk.requests.answered(desk.reply(1), b"")
    desk.requests.answered(desk.reply(1), b"")  # the answer to the second copy
    assert future.result(0)[0] == desk.reply(1)


def test_a_request_without_an_answer_is_sent_again_in_time(desk: Desk) -> None:
    desk.requests.connected()
    desk.requests.call(m.GetJobExecution, attempt="1.1")
    desk.requests.tick(RESEND_AFTER - 0.1)
    assert len(desk.sent) == 1
    desk.requests.tick(RESEND_AFTER)
    assert len(desk.sent) == 2


def test_a_refusal_ends_a_request_and_a_busy_coordinator_is_asked_again_soon(desk: Desk) -> None:
    desk.requests.connected()
    refused = desk.requests.call(m.GetJobExecution, attempt="1.1")
    busy = desk.requests.call(m.GetJobExecution, attempt="2.1")
    desk.requests.answered(m.Error(id=1, code="not_found", message="no such thing"), b"")
    desk.requests.answered(m.Error(id=2, code="unavailable", message="the disk is full"), b"")
    with pytest.raises(Refused, match="no such thing"):
        refused.result(0)
    assert not busy.done()
    desk.requests.tick(BUSY_WAIT)
    assert len(desk.sent) == 3
    desk.requests.answered(desk.reply(2), b"")
    assert busy.result(0)[0] == desk.reply(2)


def test_nobody_waits_for_a_canceled_request(desk: Desk) -> None:
    desk.requests.connected()
    future = desk.requests.call(m.GetJobExecution, attempt="1.1")
    future.cancel()
    desk.requests.tick(RESEND_AFTER)
    desk.requests.answered(desk.reply(1), b"")
    assert len(desk.sent) == 1
