"""Prints findings as a table and writes them as JSON. Independent of the measurements."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.harness import Finding, Scale, Series

STYLES = {"goal": "green", "must": "yellow", "missed": "red", "missing": "magenta"}


def number(value: float) -> str:
    """A number with three significant digits."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def spread(found: Series, unit: str) -> str:
    """A median, with the range if there is one."""
    unit = "" if unit == "x" else f" {unit}"
    if len(found.values) == 1:
        return f"{number(found.median)}{unit}"
    return f"{number(found.median)}{unit} ({number(found.low)}..{number(found.high)})"


def table(findings: Sequence[Finding]) -> Table:
    """One line per row: the judged value, its targets, and each contender's measurements."""
    made = Table(title="Longshore, the limit and the peers, measured side by side: medians (ranges)")
    for column in ("what", "result", "must", "goal", "met", "measured"):
        made.add_column(column, overflow="fold")
    for finding in findings:
        target, sign = finding.row.target, ">=" if finding.row.target.at_least else "<="
        unit = "" if finding.row.unit == "x" else f" {finding.row.unit}"
        sides = "; ".join(f"{name} {spread(found, finding.side_unit)}" for name, found in finding.sides.items())
        made.add_row(
            finding.row.title,
            spread(finding.value, finding.row.unit) if finding.value else "missing",
            f"{sign} {target.must:g}{unit}",
            f"{sign} {target.goal:g}{unit}",
            f"[{STYLES[finding.verdict]}]{finding.verdict}",
            "; ".join(filter(None, (finding.note, sides, finding.missing))),
        )
    return made


def show(findings: Sequence[Finding]) -> None:
    """Prints the table, at full width unless the terminal is narrower."""
    console = Console()
    (console if console.is_terminal else Console(width=200)).print(table(findings))


def write_json(findings: Sequence[Finding], scale: Scale, path: Path) -> None:
    """Writes all measurements, value by value."""
    document = {
        "measured_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "scale": scale.value,
        "machine": {"cpus": os.cpu_count(), "python": platform.python_version(), "kernel": platform.release()},
        "rows": [
            {
                "name": finding.row.name,
                "title": finding.row.title,
                "unit": finding.row.unit,
                "must": finding.row.target.must,
                "goal": finding.row.target.goal,
                "at_least": finding.row.target.at_least,
                "verdict": finding.verdict,
                "median": finding.value.median if finding.value else None,
                "values": list(finding.value.values) if finding.value else [],
                "note": finding.note,
                "missing": finding.missing,
                "sides": {name: list(found.values) for name, found in finding.sides.items()},
                "side_unit": finding.side_unit,
            }
            for finding in findings
        ],
    }
    path.write_text(json.dumps(document, indent=2) + "\n")
