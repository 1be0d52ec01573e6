"""Prints untrusted names to a terminal without their control sequences: titles, colours, cursor movement."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from protocol.display import IN_LINES, clean_lines


class PlainConsole(Console):
    """A console that passes only rich's own control codes."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """See Console."""
        for segment in super().render(renderable, options):
            if segment.control is None and IN_LINES.search(segment.text):
                yield Segment(clean_lines(segment.text), segment.style)
            else:
                yield segment
