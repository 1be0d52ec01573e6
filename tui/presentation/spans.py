"""Styled text fitted to a width. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len, set_cell_size

Span = tuple[str, str]
"""A piece of text and the name of its paint ("" is the widget's own)."""


Spans = Sequence[Span]
LINK = "link "
"""Prefix of the paint of a hyperlink; its address follows. It must come from `display.hyperlink`."""


SHORTEST_BROKEN = 8
"""Width from which a long name is shortened in the middle instead of at its end."""


def fit(text: str, width: int) -> str:
    """The text in exactly `width` cells, with an ellipsis if truncated."""
    if text.isascii():
        length = len(text)
        return text.ljust(width) if length <= width else text[: max(0, width - 1)] + "…"[:width]
    if cell_len(text) <= width:
        return set_cell_size(text, width)
    return set_cell_size(text, max(0, width - 1)) + "…"[:width]


def fit_name(name: str, width: int) -> str:
    """A name in exactly `width` cells, shortened in the middle: the names of a matrix differ in their ends."""
    if cell_len(name) <= width or width < SHORTEST_BROKEN:
        return fit(name, width)
    tail = ""
    for letter in reversed(name):
        if cell_len(letter + tail) > (width - 1) // 2:
            break
        tail = letter + tail
    return f"{set_cell_size(name, width - 1 - cell_len(tail))}…{tail}"


def spans_width(spans: Spans) -> int:
    """Cells that spans take."""
    return sum(cell_len(text) for text, _ in spans)


def fit_spans(spans: Spans, width: int, *, right: bool = False) -> list[Span]:
    """Spans in exactly `width` cells, the last visible one truncated with an ellipsis if necessary."""
    total = spans_width(spans)
    if total <= width:
        gap = (" " * (width - total), "")
        return [gap, *spans] if right else [*spans, gap]
    fitted: list[Span] = []
    left = width
    for text, paint in spans:
        length = cell_len(text)
        if length >= left:
            fitted.append((fit(text, left) if length > left or total > width else text, paint))
            break
        fitted.append((text, paint))
        left -= length
    return fitted
