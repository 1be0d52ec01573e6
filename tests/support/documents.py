"""Checks the documents of `--json` against their published schemas."""

from __future__ import annotations

import json
from typing import Any

import jsonschema

from tests.conftest import ROOT


def check_document(name: str, document: Any) -> None:
    """Raises ValidationError if a document is not as docs/schemas/NAME.json says."""
    schema = json.loads((ROOT / "docs" / "schemas" / f"{name}.json").read_text())
    jsonschema.validate(document, schema, format_checker=jsonschema.FormatChecker())
