"""What stays at the foot of a terminal: seen as a terminal would show it."""

from __future__ import annotations

import os
import pty
import struct
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from fcntl import ioctl
from typing import TextIO

import pytest
from rich.text import Text

from cli.follow.live_footer import DRAW_SECONDS, LiveFooter
from cli.follow.overview import Overview
from protocol.statuses import ExecutionStatus
from protocol.views import JobView


@contextmanager
def terminal(monkeypatch: pytest.MonkeyPatch, rows: int = 24, columns: int = 80) -> Iterator[tuple[TextIO, int]]:
    """A stream that is a terminal, and the descriptor that reads what it shows."""
    for name in ("COLUMNS", "LINES", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    master, slave = pty.openpty()
    ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    attributes = termios.tcgetattr(slave)
    attributes[1] &= ~termios.OPOST
    termios.tcsetattr(slave, termios.TCSANOW, attributes)
    try:
        with os.fdopen(slave, "w") as stream:
            yield stream, master
    finally:
        os.close(master)


def shown(stream: TextIO, master: int) -> bytes:
    """All that was written since the last look. The kernel hands it over in pieces, so a NUL goes after it."""
    os.write(stream.fileno(), b"\0")
    read = b""
    while not read.endswith(b"\0"):
        read += os.read(master, 4096)
    return read[:-1]


def test_lines_go_above_the_foot_which_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    with terminal(monkeypatch) as (stream, master):
        foot = LiveFooter(stream, lambda width, height: [Text("one"), Text("two")])
        foot.draw()
        assert shown(stream, master) == b"\x1b[0mone\ntwo"
        foot.write(b"a \x1b[31mline\n")
        foot.draw()
        assert shown(stream, master) == b"\r\x1b[2K\x1b[1A\x1b[2Ka \x1b[31mline\n\x1b[0mone\ntwo"
        foot.close()
        assert shown(stream, master) == b"\r\x1b[2K\x1b[1A\x1b[2K"
        foot.write(b"after\n")
        foot.flush()
        assert shown(stream, master) == b"after\n"


def test_much_output_redraws_the_foot_at_most_eight_times_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = 0

    def lines(_width: int, _height: int) -> list[Text]:
        nonlocal drawn
        drawn += 1
        return [Text("foot")]

    with terminal(monkeypatch) as (stream, master):
        foot = LiveFooter(stream, lines)
        before = time.monotonic()
        for number in range(200):
            foot.write(b"%d\n" % number)
            foot.flush()
        took = time.monotonic() - before
        foot.close()
        assert drawn <= 1 + took / DRAW_SECONDS
        seen = shown(stream, master)
    assert [int(line) for line in seen.replace(b"\r\x1b[2K", b"\n").split(b"\n") if line.isdigit()][-1] == 199


def test_a_narrower_terminal_has_broken_lines_that_go_away_too(monkeypatch: pytest.MonkeyPatch) -> None:
    with terminal(monkeypatch) as (stream, master):
        foot = LiveFooter(stream, lambda width, height: [Text("x" * 60)])
        foot.draw()
        shown(stream, master)
        ioctl(stream.fileno(), termios.TIOCSWINSZ, struct.pack("HHHH", 24, 25, 0, 0))
        monkeypatch.setattr(foot._console, "_width", 25)  # rich asks the process's own terminal
        foot.draw()
        assert shown(stream, master) == b"\r\x1b[2K" + b"\x1b[1A\x1b[2K" * 2 + b"\x1b[0m" + b"x" * 21 + "…".encode()


@pytest.mark.parametrize("height", [1, 2, 3, 5, 9, 40])
@pytest.mark.parametrize("width", [1, 8, 30, 200])
def test_the_overview_never_takes_more_lines_than_there_are(width: int, height: int) -> None:
    overview = Overview(7, {f"stage {number}": [f"job {number}"] for number in range(10)})
    for number in range(10):
        overview.take(JobView(id=number, name=f"job {number}", status=ExecutionStatus.RUNNING, worker="w"))
    lines = overview.lines(width, height)
    assert len(lines) <= height
    assert str(lines[-1]).startswith("Run 7: 0:0")


def test_the_overview_tells_stages_and_who_works() -> None:
    overview = Overview(1, {"build": ["a", "b"], "test": ["c\x1b[2J"]})
    overview.take(JobView(id=1, name="a", status=ExecutionStatus.SUCCESS))
    overview.take(JobView(id=2, name="b", status=ExecutionStatus.RUNNING, worker="w1"))
    overview.take(JobView(id=3, name="c\x1b[2J", status=ExecutionStatus.WAITING, worker="w2"))
    lines = [str(line) for line in overview.lines(80, 12)]
    assert lines[0].rstrip() == "● build ━━━━━━━━━━────────── 1/2"
    assert lines[1].rstrip() == "◔ test  ──────────────────── 0/1"
    assert lines[2:] == [
        "  ●  0:00 b running on w1",
        "  ◔  0:00 c�[2J waiting on w2",
        "Run 1: 0:00, 1 of 3 jobs done, 2 at work",
    ]
