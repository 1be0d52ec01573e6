"""Reads a job's reports and stores its files at the coordinator. Called by job threads."""

from __future__ import annotations

from pathlib import Path

from daemon.executors.base import Collected
from daemon.logs.masking import Masker
from daemon.reports.reader import Reports, read_reports
from daemon.upstream.transfers import Transfer
from protocol.messages import Assignment
from protocol.views import ArtifactRef

PIECE_BYTES = 1 << 20


def store_reports(collected: list[Collected], transfer: Transfer, masker: Masker, assignment: Assignment) -> Reports:
    """Reads the reports and stores all files as blobs: reports with secrets masked, archives as they are.

    A dotenv report that breaks GitLab's rules fails the job, as its upload does there; other reports do not. All files
    are stored in either case. Raises JobFailed, TransferAborted.
    """
    reports = read_reports(collected, assignment, masker)
    for item in collected:
        known = item.digest
        if masker and item.kind != "archive":
            _mask(item.path, masker)
            known = ""
        digest, size = transfer.store(item.path, known)
        reports.artifacts.append(ArtifactRef(kind=item.kind, digest=digest, size=size, name=item.name))
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
