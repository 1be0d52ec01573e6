"""What follows a job's log is written once, and what the coordinator has lost of it again."""

from __future__ import annotations

import pytest

from daemon.logs.appendix import Appendix, labelled
from daemon.logs.sender import LogSender

LOG = b"the log\n"
TEXT = b"[service:db] ready\n"


def written(log: LogSender) -> bytes:
    return b"".join(piece.data for piece in log.take())


@pytest.mark.parametrize("kept", [0, 3, len(LOG), len(LOG) + 5, len(LOG + TEXT)])
def test_after_a_loss_exactly_the_missing_part_is_written(kept: int) -> None:
    log = LogSender(lambda: None)
    appendix = Appendix(log)
    log.write(LOG, 1.0)
    appendix.write()  # nothing yet
    appendix.append(TEXT, log.end)
    assert written(log) == LOG + TEXT

    log.restart(kept)
    assert log.whole() is None
    start = log.resume()
    log.write(LOG[start:], 1.0)
    appendix.write()
    assert written(log) == (LOG + TEXT)[kept:]
    assert log.whole() == len(LOG + TEXT)


def test_a_log_that_is_lost_meanwhile_is_told_by_its_length_alone() -> None:
    log = LogSender(lambda: None)
    appendix = Appendix(log)
    log.write(LOG, 1.0)
    log.restart(2)
    appendix.append(TEXT, len(LOG))
    assert log.whole() is None
    log.write(LOG[log.resume() :], 1.0)
    appendix.write()
    assert written(log) == (LOG + TEXT)[2:]


def test_each_line_names_its_service() -> None:
    logs = {"db": b"one\n\ntwo", "web": b"", "cache": b"up\r\n"}
    assert labelled(logs) == b"[service:db] one\n[service:db] \n[service:db] two\n[service:cache] up\r\n"
