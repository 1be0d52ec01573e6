"""Rows of plain values as a table or one JSON document. Knows nothing of their meaning."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from cli.render.json_views import print_json
from cli.render.tables import console


def print_rows(rows: Sequence[dict[str, Any]], *, as_json: bool, empty: str = "none yet") -> None:
    """Prints rows with identical keys; `empty` is the text for an empty table."""
    if as_json:
        print_json(list(rows))
        return
    if not rows:
        sys.stderr.write(empty + "\n")
        return
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for key in rows[0]:
        table.add_column(key.replace("_", " "), overflow="fold")
    for row in rows:
        table.add_row(*(Text(_words(value)) for value in row.values()))
    console(sys.stdout).print(table)


def _words(value: object) -> str:
    if isinstance(value, list):
        return " ".join(map(str, value))
    return "" if value is None or value is False else "yes" if value is True else str(value)
