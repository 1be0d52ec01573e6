"""Lock files: the commits and digests of a pipeline file's includes, which a compilation then uses.

A lock file is beside its pipeline file, and is committed with it.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from pipeline.includes.records import Pin, SourceRecord
from pipeline.includes.sources import read_file
from pipeline.nodes import Map, Mark, Origin, Value, kind_of, shown
from pipeline.problems import Report, fatal
from pipeline.yaml_loader import load
from protocol.errors import LongshoreError, PipelineFileError, Problem
from protocol.names import DIGEST, OBJECT_ID

FORMAT = "1"
MEND = "restore it, or write it anew: longshore lock --update"
_PLAIN = re.compile(r"[A-Za-z0-9](?:[\w./@~+?=-]|:(?=[\w/]))*\Z", re.ASCII)
"""Text that YAML reads as the same text without quotes, as a key or a value that is no number."""
_URL = ("https://", "http://")


def lock_path(pipeline_file: Path) -> Path:
    """The lock file of a pipeline file: `.gitlab-ci.lock.yml` of `.gitlab-ci.yml`."""
    return pipeline_file.with_suffix(".lock.yml")


def read_lock(path: Path) -> dict[str, Pin] | None:
    """The pins of a lock file by their lock keys; None if it does not exist.

    Raises PipelineFileError naming file, line and mend if it is damaged.
    """
    name = str(path)
    try:
        data = read_file(path)
    except LongshoreError as error:
        raise PipelineFileError([Problem(str(error), name, mend=MEND)]) from None
    return None if data is None else parse_lock(data, name)


def parse_lock(data: bytes, name: str) -> dict[str, Pin]:
    """The pins of a lock file's content. Raises PipelineFileError, as `read_lock`."""
    origin = Origin(name)
    report = Report()
    try:
        documents = load(data, origin, report, as_written=True)
        if report.warnings:  # a key that is there twice, as after a merge
            raise PipelineFileError(report.warnings)
    except PipelineFileError as error:
        raise PipelineFileError([replace(each, mend=MEND, included_from=()) for each in error.problems]) from None
    if len(documents) != 1 or not isinstance(documents[0], Map):
        raise fatal("is no lock file", Mark(origin, 1), mend=MEND)
    document = documents[0]
    _check_keys(document, {"version", "projects", "remotes"}, document.mark, "")
    if "version" not in document:
        raise fatal("has no `version`", document.mark, mend=MEND)
    if document["version"] != FORMAT:
        raise fatal(
            f"is version {shown(document.get('version'))} of a lock file; this Longshore reads version {FORMAT}",
            document.at("version"),
            "version",
            MEND,
        )
    pins: dict[str, Pin] = {}
    for key, value, mark in _section(document, "projects"):
        fields = _fields(value, {"commit", "version"}, mark, f"projects.{key}")
        commit = _text(fields, "commit", OBJECT_ID, "a commit's full SHA", f"projects.{key}")
        version = fields.get("version")
        pins[key] = Pin(commit=commit, version=str(version) if version is not None else "")
    for key, value, mark in _section(document, "remotes"):
        fields = _fields(value, {"sha256"}, mark, f"remotes.{key}")
        pins[key] = Pin(sha256=_text(fields, "sha256", DIGEST, "a SHA-256 in hex", f"remotes.{key}"))
    return pins


def _section(document: Map, name: str) -> list[tuple[str, Value, Mark]]:
    value = document.get(name)
    if value is None or value == "":
        return []
    if not isinstance(value, Map):
        raise fatal(f"must be a mapping, not {kind_of(value)}", document.at(name), name, MEND)
    entries = list(value.entries())
    for key, _, mark in entries:
        if key.startswith(_URL) != (name == "remotes"):
            raise fatal("is in the wrong section", mark, f"{name}.{key}", MEND)
    return entries


def _fields(value: Value, known: set[str], mark: Mark, key: str) -> Map:
    if not isinstance(value, Map):
        raise fatal(f"must be a mapping, not {kind_of(value)}", mark, key, MEND)
    _check_keys(value, known, mark, f"{key}.")
    return value


def _check_keys(found: Map, known: set[str], mark: Mark, prefix: str) -> None:
    for key in found:
        if key not in known:
            raise fatal("is unknown in a lock file", found.at(key), f"{prefix}{key}", MEND)


def _text(fields: Map, name: str, form: re.Pattern[str], what: str, key: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str) or not form.fullmatch(value):
        raise fatal(f"is not {what}", fields.at(name), f"{key}.{name}", MEND)
    return value


def lock_text(pins: Mapping[str, Pin]) -> str:
    """The content of a lock file."""
    lines = ["# Written by `longshore lock`; commit it. `longshore lock --update` renews it.", f"version: {FORMAT}"]
    for section, wanted in (("projects", False), ("remotes", True)):
        chosen = sorted(key for key in pins if key.startswith(_URL) == wanted)
        if chosen:
            lines.append(f"{section}:")
        for key in chosen:
            pin = pins[key]
            lines.append(f"  {_quoted(key)}:")
            fields = (("commit", pin.commit), ("version", pin.version), ("sha256", pin.sha256))
            lines += [f"    {name}: {_quoted(value)}" for name, value in fields if value]
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    if _PLAIN.match(text):
        return text
    escaped = (each if each.isprintable() and each not in '"\\' else f"\\U{ord(each):08x}" for each in text)
    return f'"{"".join(escaped)}"'


def pins_of(records: Iterable[SourceRecord]) -> dict[str, Pin]:
    """The pins of all fetched files."""
    pins: dict[str, Pin] = {}
    for record in records:
        origin = record.provenance
        if origin.lock_key:
            pins[origin.lock_key] = Pin(origin.commit, origin.version, "" if origin.commit else record.sha256)
    return pins


def write_lock(path: Path, pins: Mapping[str, Pin]) -> None:
    """Writes a lock file, whole or not at all. Raises LongshoreError."""
    part = path.with_name(f"{path.name}.part")
    try:
        part.write_text(lock_text(pins))
        part.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink()
        raise LongshoreError(f"can't write {path}: {error.strerror or error}") from error
