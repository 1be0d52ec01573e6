"""A few lines kept at the bottom of a terminal while other output scrolls above. Knows nothing of runs.

rich's Live is unsuitable: it re-flows text, and job output must reach the terminal byte for byte.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import TextIO

from rich.text import Text

from cli.render.safe_console import PlainConsole

DRAW_SECONDS = 0.125
"""Minimum interval between redraws; output in between waits for the next one."""
MOST_PENDING = 1 << 18
"""Maximum number of pending bytes."""
MARGIN = 3
"""Columns left free at the right: the cursor rests behind the last line, where a terminal echoes ^C."""


class LiveFooter:
    """Writes whole lines (bytes) to the terminal `stream`, and keeps the result of `lines(width, height)` below them.

    Each redraw is one write (erase the footer, print new output, print the footer), to avoid flicker.
    """

    def __init__(self, stream: TextIO, lines: Callable[[int, int], list[Text]]) -> None:
        self._raw = stream.buffer
        self._console = PlainConsole(file=stream, highlight=False)
        self._lines = lines
        self._pending = bytearray()
        self._shown: list[int] = []  # widths of the lines now on screen
        self._last: tuple[str, int] = "", 0
        self._drawn_at = 0.0
        self._closed = False

    def write(self, data: bytes) -> None:
        """Queues whole lines to print above the footer."""
        self._pending += data

    def flush(self) -> None:
        """Prints pending output soon."""
        if self._closed:
            self._put(b"")
        elif len(self._pending) > MOST_PENDING:
            self.draw()
        else:
            self.tick()

    def tick(self) -> None:
        """Redraws if due; call it often."""
        if time.monotonic() - self._drawn_at >= DRAW_SECONDS:
            self.draw()

    def draw(self) -> None:
        """Prints pending output and the current footer."""
        self._drawn_at = time.monotonic()
        width, height = self._console.size
        lines = self._lines(max(width - MARGIN, 1), max(height // 2, 1))
        for line in lines:
            line.truncate(max(width - MARGIN, 1), overflow="ellipsis")
        with self._console.capture() as captured:
            self._console.print(Text("\n").join(lines), end="", soft_wrap=True)
        text = captured.get()
        if self._pending or not self._shown or (text, width) != self._last:
            self._put(b"\x1b[0m" + text.encode(), width)
            self._shown, self._last = [line.cell_len for line in lines], (text, width)

    def away(self) -> None:
        """Hides the footer until the next redraw, so that other code can print a line."""
        self._put(b"")

    def close(self) -> None:
        """Removes the footer for good. A closed terminal is no error."""
        self._closed = True
        with contextlib.suppress(OSError):
            self._put(b"")

    def _put(self, foot: bytes, width: int = 0) -> None:
        data = self._erasure(width or self._console.size.width) + self._pending + foot
        self._pending.clear()
        self._shown = []
        self._raw.write(data)
        self._raw.flush()

    def _erasure(self, width: int) -> bytes:
        """Erases the footer, from behind its last line to its start; a narrower terminal has re-wrapped its lines.

        Line by line: tmux keeps in its history whatever one sequence erases down from the top of the screen.
        """
        if not self._shown:
            return b""
        up = sum(max(1, -(-cells // max(width, 1))) for cells in self._shown) - 1
        return b"\r\x1b[2K" + b"\x1b[1A\x1b[2K" * up
