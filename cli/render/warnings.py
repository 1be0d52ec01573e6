"""Warnings of verbs, on stderr. Imports nothing heavy."""

from __future__ import annotations

import sys

from protocol.display import clean_lines


def print_warning(text: object) -> None:
    """Prints a warning."""
    print(f"warning: {clean_lines(str(text))}", file=sys.stderr)
