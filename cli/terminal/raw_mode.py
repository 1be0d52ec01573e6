"""Raw mode of this process's terminal: every key is a byte for the remote command, and nothing is echoed here."""

from __future__ import annotations

import atexit
import os
import sys
import termios
import tty
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from protocol.messages import Terminal

USUAL_SIZE = (24, 80)
RESET = "\x1b[?1l\x1b[?2004l\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1006l\x1b[?1047l\x1b[?25h\x1b[0m\r\n"
"""Ends what a program that was cut off may have left switched on: cursor keys' and paste's modes, the mouse, the other
screen (whose usual sequence would move the cursor too), a hidden cursor, colours."""


def screen_size() -> tuple[int, int]:
    """Rows and columns of the terminal."""
    for file in (1, 0, 2):
        with suppress(OSError):
            size = os.get_terminal_size(file)
            if size.lines and size.columns:
                return size.lines, size.columns
    return USUAL_SIZE


def this_terminal() -> Terminal:
    """The terminal's size and type."""
    rows, columns = screen_size()
    return Terminal(rows=rows, columns=columns, kind=os.environ.get("TERM") or "xterm")


def reset_screen() -> None:
    """After a program that was cut off."""
    with suppress(OSError):
        sys.stdout.write(RESET)
        sys.stdout.flush()


@contextmanager
def raw_mode(file: int = 0) -> Iterator[None]:
    """The terminal in raw mode; restored however this process ends, except by SIGKILL."""
    before = termios.tcgetattr(file)

    def restore() -> None:
        with suppress(termios.error, OSError):  # the terminal is gone
            termios.tcsetattr(file, termios.TCSADRAIN, before)

    atexit.register(restore)
    try:
        tty.setraw(file, termios.TCSADRAIN)
        yield
    finally:
        restore()
        atexit.unregister(restore)
