"""Writes what others have named to a terminal, without what would do something to it: titles, colours, cursors."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from protocol.display import IN_LINES, clean_lines


class PlainConsole(Console):
    """Only rich's own control codes get through it."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """See Console."""
        for segment in super().render(renderable, options):
            if segment.control is None and IN_LINES.search(segment.text):
                yield Segment(clean_lines(segment.text), segment.style)
            else:
                yield segment
