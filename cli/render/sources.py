"""The document of `plan --sources`: the files that a pipeline was compiled from. Fields may be added, never changed."""

from __future__ import annotations

from typing import Any

from pipeline import Compilation
from pipeline.includes.records import SourceRecord

SHORT = 12
"""Digits of a commit or digest that people read."""


def source_rows(compilation: Compilation, *, for_people: bool) -> list[dict[str, Any]]:
    """One row per file, in the order in which they were read; people get digests in short."""
    row = _for_people if for_people else _as_json
    return [row(record, compilation.plan.project) for record in compilation.sources]


def short_version(commit: str, sha256: str) -> str:
    """A commit, or else the digest of a file that has none, as people read it."""
    return commit[:SHORT] or (f"sha256 {sha256[:SHORT]}" if sha256 else "")


def _as_json(record: SourceRecord, own: str) -> dict[str, Any]:
    origin = record.provenance
    return {
        "file": record.file or None,
        "project": _project(record, own) or None,
        "ref": origin.ref or None,
        "version": origin.version or None,
        "commit": origin.commit or None,
        "sha256": record.sha256 or None,
        "from": origin.origin,
    }


def _for_people(record: SourceRecord, own: str) -> dict[str, Any]:
    origin = record.provenance
    ref = origin.ref if origin.version in ("", origin.ref) else f"{origin.ref} ({origin.version})"
    return {
        "file": record.file or "(names of its files)",
        "project": _project(record, own),
        "ref": ref,
        "commit": short_version(origin.commit, record.sha256),
        "from": origin.origin,
    }


def _project(record: SourceRecord, own: str) -> str:
    """A file's project; a URL belongs to none, and a file without project and lock key is our own."""
    return record.provenance.project or ("" if record.provenance.lock_key else own)
