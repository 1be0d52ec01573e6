"""A progress bar of a run, readable without colours."""

from __future__ import annotations

from tui.presentation.spans import Span

BAR_PARTS = (
    ("success", "█", "success"),
    ("failed", "▓", "error"),
    ("running", "▒", "primary"),
    ("preparing", "▒", "primary"),
)
"""Segments of a progress bar, distinguishable without colour."""


def bar(counts: dict[str, int], cells: int) -> list[Span]:
    """A progress bar of jobs by status."""
    total = sum(counts.values())
    if not total:
        return [("─" * cells, "muted")]
    parts = [(counts.get(status, 0), shape, paint) for status, shape, paint in BAR_PARTS]
    parts.append((total - sum(count for count, _, _ in parts), "░", "muted"))
    spans: list[Span] = []
    done = drawn = 0
    for number, (count, shape, paint) in enumerate(parts):
        done += count
        later = sum(other > 0 for other, _, _ in parts[number + 1 :])
        least = drawn + (count > 0)  # neither a failure nor a remainder is rounded to nothing
        until = min(cells, max(least, min(round(done * cells / total), cells - later)))
        spans.append((shape * (until - drawn), paint))
        drawn = until
    return [span for span in spans if span[0]]
