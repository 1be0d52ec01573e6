"""Fetches jobs' artifacts from the coordinator, and lays them into a directory."""

from __future__ import annotations

import posixpath
import shlex
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import msgspec

from cli.artifacts.unpacking import Entry, Unpacker, Wanted, content, entries
from daemon.executors.common.globs import Patterns
from protocol import messages as m
from protocol.client import Client
from protocol.errors import CoordinatorUnreachable, UsageError
from protocol.names import CHUNK_BYTES
from protocol.replies import IncomingBlob
from protocol.views import PAGES, ArtifactRef, JobView

ARCHIVE = "archive"


class Selection:
    """The paths of a user: files, directories with all that is in them, and patterns. None at all: everything.

    Raises UsageError for a malformed pattern.
    """

    def __init__(self, paths: Sequence[str]) -> None:
        self._paths = [posixpath.normpath(path) for path in paths]
        self._patterns = Patterns(self._paths)
        self._matched: set[int] = set()

    def wants(self, path: str) -> bool:
        """Whether a path is selected."""
        if not self._paths:
            return True
        covering = self._patterns.covering(path)
        self._matched.update(covering)
        return bool(covering)

    def check(self, run: int, job: str) -> None:
        """Raises UsageError naming the first path that no artifact of the job has matched."""
        for index, path in enumerate(self._paths):
            if index not in self._matched:
                raise UsageError(
                    f"job {job!r} has no artifact {path!r}; `longshore artifacts {run} {shlex.quote(job)}` lists them"
                )


class Found(msgspec.Struct, frozen=True):
    """A file of a job, and its content in pieces."""

    entry: Entry
    content: Callable[[], Iterator[bytes]]


def directory_names(jobs: Sequence[str]) -> dict[str, str]:
    """A directory's name for each job: without `/`, blanks and control characters, and different for each job."""
    names: dict[str, str] = {}
    taken: set[str] = set()
    for job in jobs:
        plain = "".join("_" if char in "/ \\:" or not char.isprintable() else char for char in job).strip(".") or "_"
        plain = plain.encode()[:200].decode(errors="ignore")
        name, number = plain, 2
        while name.casefold() in taken:
            name, number = f"{plain}~{number}", number + 1
        taken.add(name.casefold())
        names[job] = name
    return names


class Fetcher:
    """Fetches artifacts with a client. `again` replaces it after a lost connection, and raises when patience ends.

    `tell` is called with the bytes that have arrived of a blob, and its size.
    """

    def __init__(
        self,
        client: Callable[[], Client],
        again: Callable[[], None],
        tell: Callable[[int, int], None] = lambda arrived, size: None,
    ) -> None:
        self._client = client
        self._again = again
        self._tell = tell

    @contextmanager
    def file(self, ref: ArtifactRef, job: str, near: Path | None = None) -> Iterator[Path]:
        """The verified blob of an artifact as a temporary file, in the directory `near`. Raises LongshoreError."""
        with tempfile.TemporaryDirectory(prefix=".longshore-", dir=near) as folder:
            path = Path(folder) / "artifact"
            self._download(ref, job, path)
            yield path

    @contextmanager
    def files(self, job: JobView, wanted: Wanted) -> Iterator[list[Found]]:
        """The wanted files of a job, for as long as the context lasts. Raises LongshoreError."""
        with ExitStack() as stack:
            found: list[Found] = []
            for ref in sorted(_files_of(job), key=lambda ref: ref.kind != ARCHIVE):
                if ref.kind != ARCHIVE:
                    path = posixpath.normpath(ref.name)
                    if wanted(path):
                        found.append(Found(Entry(path, ref.kind, ref.size, None), partial(self._report, ref, job.name)))
                    continue
                archive = stack.enter_context(self.file(ref, job.name))
                source = _source(job)
                found += [
                    Found(entry, partial(content, archive, source, entry.path))
                    for entry in entries(archive, source)
                    if entry.path != "." and wanted(entry.path)
                ]
            yield found

    def _report(self, ref: ArtifactRef, job: str) -> Iterator[bytes]:
        with self.file(ref, job) as path, path.open("rb") as stream:
            while piece := stream.read(CHUNK_BYTES):
                yield piece

    def lay(self, job: JobView, root: Path, wanted: Wanted = lambda path: True) -> tuple[int, int]:
        """Lays a job's artifacts into the directory `root`, made if necessary: the reports, and the archive over them.

        Returns the number of files and their size in bytes. Raises LongshoreError, OSError.
        """
        root.mkdir(parents=True, exist_ok=True)
        with Unpacker(root) as unpacker:
            for ref in sorted(_files_of(job), key=lambda ref: ref.kind == ARCHIVE):
                if ref.kind != ARCHIVE and not wanted(posixpath.normpath(ref.name)):
                    continue
                with self.file(ref, job.name, root) as path:
                    if ref.kind == ARCHIVE:
                        unpacker.archive(path, _source(job), wanted)
                    else:
                        unpacker.file(ref.name, path)
        return unpacker.count, unpacker.size

    def _download(self, ref: ArtifactRef, job: str, path: Path) -> None:
        with IncomingBlob(ref.digest, path, self._client().address) as blob:
            while not blob.complete:
                try:
                    piece = self._client().request_payload(m.BlobGet, **blob.next_piece())
                except UsageError:
                    raise UsageError(gone(ref, job)) from None
                except CoordinatorUnreachable:
                    self._again()
                    continue
                blob.take(*piece)
                self._tell(blob.arrived, blob.size or 0)


def _files_of(job: JobView) -> list[ArtifactRef]:
    """A job's archive and reports; its pages are in its archive too."""
    return [ref for ref in job.artifacts if ref.kind != PAGES]


def _source(job: JobView) -> str:
    return f"job {job.name!r}"


def gone(ref: ArtifactRef, job: str) -> str:
    """Why an artifact can't be had."""
    what = f"the artifacts of job {job!r}" if ref.kind == ARCHIVE else f"the report {ref.name!r} of job {job!r}"
    if ref.expires_at is not None and ref.expires_at <= time.time():
        moment = datetime.fromtimestamp(ref.expires_at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        return f"{what} expired at {moment}; `longshore retry RUN JOB` makes them anew"
    return f"{what} are no longer stored; `longshore retry RUN JOB` makes them anew"
