"""A bar that shows how far a run is, readable without colours."""

from __future__ import annotations

from tui.widgets.lines import Span

BAR_PARTS = (
    ("success", "█", "success"),
    ("failed", "▓", "error"),
    ("running", "▒", "primary"),
    ("preparing", "▒", "primary"),
)
"""Parts of a progress bar: told apart without colour too."""


def bar(counts: dict[str, int], cells: int) -> list[Span]:
    """A progress bar of jobs by status."""
    total = sum(counts.values())
    if not total:
        return [("─" * cells, "muted")]
    spans: list[Span] = []
    done = drawn = 0
    for status, shape, paint in BAR_PARTS:
        done += counts.get(status, 0)
        until = round(done * cells / total)
        if until > drawn:
            spans.append((shape * (until - drawn), paint))
            drawn = until
    rest = total - done
    if rest and drawn == cells and spans:  # what is left is never rounded away
        shape, paint = spans[-1]
        spans[-1] = (shape[:-1], paint)
        drawn -= 1
    return [*spans, ("░" * (cells - drawn), "muted")]
