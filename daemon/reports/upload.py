"""Reads a job's reports and stores its files at the coordinator. Called by job threads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from daemon.executors.base import DESCRIPTION, Collected
from daemon.logs.masking import Masker
from daemon.reports.reader import Reports, read_reports
from daemon.reports.release import BadRelease, read_release
from daemon.upstream.transfers import Transfer
from protocol.messages import Assignment
from protocol.plan import Release
from protocol.views import PAGES, ArtifactRef, Pages

PIECE_BYTES = 1 << 20
ARCHIVES = ("archive", PAGES)
"""Kinds of files that are stored as they are."""


def store_reports(collected: list[Collected], transfer: Transfer, masker: Masker, assignment: Assignment) -> Reports:
    """Reads the reports and stores all files as blobs: reports with secrets masked, archives as they are.

    A dotenv report that breaks GitLab's rules fails the job, as its upload does there; other reports do not. All files
    are stored in either case. Raises JobFailed, TransferAborted.
    """
    reports = read_reports(collected, assignment, masker)
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


def add_release(spec: Release, expand: Callable[[str], str], collected: list[Collected], reports: Reports) -> None:
    """Adds what a successful job releases to its reports; a wrong value fails the job, as in GitLab."""
    try:
        report = read_release(spec, expand, collected)
    except BadRelease as error:
        reports.failure = "; ".join(filter(None, [reports.failure, f"bad release: {error}"]))
        return
    reports.release = report.release
    reports.warning = "; ".join(filter(None, [reports.warning, report.warning])) or None
