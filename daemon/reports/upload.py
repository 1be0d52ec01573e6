"""Reads a job's dotenv and junit reports and stores its files at the coordinator. Called by job threads."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import msgspec

from daemon.executors.base import DESCRIPTION, Collected
from daemon.logs.masking import Masker
from daemon.reports.dotenv import MAX_BYTES, BadDotenv, parse_dotenv
from daemon.reports.junit import parse_junit
from daemon.reports.release import BadRelease, read_release
from daemon.upstream.transfers import Transfer
from protocol.plan import Release
from protocol.views import PAGES, ArtifactRef, JUnitSummary, Pages

PIECE_BYTES = 1 << 20
ARCHIVES = ("archive", PAGES)
"""Kinds of files that are stored as they are."""
MOST_NAMED = 3
"""Limit of report files named in a message."""


class Reports(msgspec.Struct):
    """A job's reports. `warning` is for people: an unreadable report that does not fail the job.

    `failure` is a report that fails the job.
    """

    artifacts: list[ArtifactRef] = []
    dotenv: dict[str, str] = {}
    tests: JUnitSummary | None = None
    release: Release | None = None
    pages: Pages | None = None
    warning: str | None = None
    failure: str | None = None


def store_reports(collected: list[Collected], transfer: Transfer, masker: Masker) -> Reports:
    """Reads the reports and stores all files as blobs: reports with secrets masked, archives as they are.

    A dotenv report that breaks GitLab's rules fails the job, as its upload does there; a junit report does not. Other
    files are stored in both cases. Raises JobFailed, TransferAborted.
    """
    reports = Reports()
    _read_dotenv(collected, reports)
    _read_junit(collected, reports)
    for item in collected:
        if item.kind == DESCRIPTION:
            continue
        known = item.digest
        if masker and item.kind not in ARCHIVES:
            _mask(item.path, masker)
            known = ""
        digest, size = transfer.store(item.path, known)
        reports.artifacts.append(ArtifactRef(kind=item.kind, digest=digest, size=size, name=item.name))
        if item.kind == PAGES:
            reports.pages = Pages(publish=item.name, files=item.files, size=item.bytes)
    return reports


def _mask(path: Path, masker: Masker) -> None:
    """Masks secrets in a file."""
    masked = path.with_name(f"{path.name}.masked")
    with path.open("rb") as source, masked.open("wb") as target:
        stream = masker.stream(target.write)
        while piece := source.read(PIECE_BYTES):
            stream.write(piece)
        stream.close()
    masked.replace(path)


def _read_dotenv(collected: list[Collected], reports: Reports) -> None:
    files = []
    for item in collected:
        if item.kind == "dotenv":
            with item.path.open("rb") as stream:
                files.append((item.name or item.path.name, stream.read(MAX_BYTES + 1)))
    try:
        reports.dotenv = parse_dotenv(files)
    except BadDotenv as error:
        reports.failure = f"bad dotenv report: {error}"


def _read_junit(collected: list[Collected], reports: Reports) -> None:
    with ExitStack() as stack:
        files = [
            (item.name or item.path.name, stack.enter_context(item.path.open("rb")))
            for item in collected
            if item.kind == "junit"
        ]
        report = parse_junit(files)
    reports.tests = report.summary
    if report.odd:
        more = f" (and {len(report.odd) - MOST_NAMED} more)" if len(report.odd) > MOST_NAMED else ""
        reports.warning = f"no junit report: {'; '.join(report.odd[:MOST_NAMED])}{more}"


def add_release(spec: Release, expand: Callable[[str], str], collected: list[Collected], reports: Reports) -> None:
    """Adds what a successful job releases to its reports; a wrong value fails the job, as in GitLab."""
    try:
        report = read_release(spec, expand, collected)
    except BadRelease as error:
        reports.failure = "; ".join(filter(None, [reports.failure, f"bad release: {error}"]))
        return
    reports.release = report.release
    reports.warning = "; ".join(filter(None, [reports.warning, report.warning])) or None
