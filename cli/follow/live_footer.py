"""A few lines that stay at the foot of a terminal while other output scrolls by above them. Knows nothing of runs.

rich's Live is not used: it lays text out anew, and what jobs print has to reach the terminal byte for byte.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import TextIO

from rich.text import Text

from cli.render.safe_console import PlainConsole

DRAW_SECONDS = 0.125
"""Least time between two drawings; what is written in between waits for the next."""
MOST_PENDING = 1 << 18
"""Bytes that may wait."""
MARGIN = 3
"""Columns at the right that stay free: the cursor rests behind the last line, where a terminal shows ^C."""


class LiveFooter:
    """Takes whole lines as bytes for `stream`, a terminal, and keeps what `lines(width, height)` returns below them.

    Each drawing is one write: the old foot away, new output, the new foot, so that nothing flickers.
    """

    def __init__(self, stream: TextIO, lines: Callable[[int, int], list[Text]]) -> None:
        self._raw = stream.buffer
        self._console = PlainConsole(file=stream, highlight=False)
        self._lines = lines
        self._pending = bytearray()
        self._shown: list[int] = []  # the widths of the lines that are there now
        self._last: tuple[str, int] = "", 0
        self._drawn_at = 0.0
        self._closed = False

    def write(self, data: bytes) -> None:
        """Whole lines, to be shown above the foot."""
        self._pending += data

    def flush(self) -> None:
        """Shows what was written, soon."""
        if self._closed:
            self._put(b"")
        elif len(self._pending) > MOST_PENDING:
            self.draw()
        else:
            self.tick()

    def tick(self) -> None:
        """To be called often: draws if it is time."""
        if time.monotonic() - self._drawn_at >= DRAW_SECONDS:
            self.draw()

    def draw(self) -> None:
        """Shows what was written, and the foot as it is now."""
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
        """Takes the foot away until the next drawing, so that somebody else can write a line."""
        self._put(b"")

    def close(self) -> None:
        """Takes the foot away for good. A terminal that is gone is no error."""
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
        """From behind the foot's last line to before its first; a narrower terminal has broken its lines since.

        Line by line: tmux keeps in its history what one sequence erases down from the top of the screen.
        """
        if not self._shown:
            return b""
        up = sum(max(1, -(-cells // max(width, 1))) for cells in self._shown) - 1
        return b"\r\x1b[2K" + b"\x1b[1A\x1b[2K" * up
