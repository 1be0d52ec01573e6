"""Draws findings as one SVG: each row's median and range on a scale relative to its targets. Plain SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from pathlib import Path

from benchmarks.harness import Finding
from benchmarks.report import spread

LABELS, PLOT, RIGHT, LINE, TOP = 560, 420, 210, 34, 64
"""Column widths and heights, in pixels."""
DECADES = 2.0
"""Extent of the scale to either side of the must, in powers of ten."""
COLOURS = {"goal": "#2e9e5b", "must": "#c58b00", "missed": "#cf3b3b", "missing": "#888"}


def position(finding: Finding, value: float) -> float:
    """The x position of a value in its row: the must is in the middle, better is to the left."""
    share = math.log10(max(value, 1e-9) / finding.row.target.must) / DECADES
    if finding.row.target.at_least:
        share = -share
    return LABELS + PLOT / 2 * (1 + max(-1.0, min(1.0, share)))


def _row(finding: Finding, y: float) -> str:
    colour = COLOURS[finding.verdict]
    goal = position(finding, finding.row.target.goal)
    parts = [
        f'<text x="{LABELS - 12}" y="{y + 4}" text-anchor="end">{escape(finding.row.title)}</text>',
        f'<line x1="{goal}" x2="{goal}" y1="{y - 11}" y2="{y + 11}" stroke="#2e9e5b" stroke-dasharray="2 2"/>',
    ]
    if finding.value:
        low, high = position(finding, finding.value.low), position(finding, finding.value.high)
        middle = position(finding, finding.value.median)
        parts += [
            f'<line x1="{low}" x2="{high}" y1="{y}" y2="{y}" stroke="{colour}" stroke-width="5" opacity="0.35"/>',
            f'<circle cx="{middle}" cy="{y}" r="6" fill="{colour}"/>',
        ]
    said = spread(finding.value, finding.row.unit) if finding.value else "missing"
    parts.append(f'<text x="{LABELS + PLOT + 12}" y="{y + 4}" fill="{colour}">{escape(said)}</text>')
    return "".join(parts)


def svg(findings: Sequence[Finding]) -> str:
    """The picture."""
    width, height = LABELS + PLOT + RIGHT, TOP + LINE * len(findings) + 16
    must = LABELS + PLOT / 2
    rows = "\n".join(_row(finding, TOP + LINE * (number + 0.5)) for number, finding in enumerate(findings))
    frame = f'viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12"'
    return f"""<svg xmlns="http://www.w3.org/2000/svg" {frame}>
<rect width="{width}" height="{height}" fill="#fff"/>
<text x="{LABELS - 12}" y="28" text-anchor="end" font-size="16">Longshore against the limit and the peers</text>
<text x="{must}" y="28" text-anchor="middle" fill="#555">must</text>
<text x="{LABELS}" y="46" fill="#555">100 times better</text>
<text x="{LABELS + PLOT}" y="46" text-anchor="end" fill="#555">100 times worse</text>
<text x="{LABELS + PLOT + 12}" y="28" fill="#555">dashed: the goal</text>
<line x1="{must}" x2="{must}" y1="{TOP - 12}" y2="{height - 12}" stroke="#c58b00"/>
{rows}
</svg>
"""


def write_svg(findings: Sequence[Finding], path: Path) -> None:
    """Writes the picture."""
    path.write_text(svg(findings))
