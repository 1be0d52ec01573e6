"""Takes a job's static pages out of its container."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from pathlib import Path

import msgspec

from daemon.executors.base import Collected
from daemon.executors.common.archive_members import ArchiveWriter
from daemon.executors.common.globs import META, relative_pattern
from daemon.executors.docker.files.artifacts import FileCollector, Selection
from daemon.tar_stream import Member
from protocol.plan import PagesSpec
from protocol.views import PAGES


class _Pages:
    """Writes the members below a directory under their names there, and counts its files."""

    follows = False

    def __init__(self, directory: str, out: ArchiveWriter) -> None:
        self.names: set[str] = set()
        self.files = self.bytes = 0
        self._prefix = directory + "/"
        self._out = out

    def directory(self, member: Member) -> None:
        """A directory of the source, before its content."""
        if member.name.startswith(self._prefix):
            self._out.directory(self._within(member))

    def add(self, member: Member, data: Iterator[bytes]) -> None:
        """A file, directory or link."""
        self.names.add(member.name)
        if not member.name.startswith(self._prefix):
            return
        if not member.is_directory:
            self.files += 1
            self.bytes += member.size
        self._out.add(self._within(member), data)

    def _within(self, member: Member) -> Member:
        target = member.target.removeprefix(self._prefix) if member.is_hard_link else member.target
        return msgspec.structs.replace(member, name=member.name.removeprefix(self._prefix), target=target)


def collect_pages(spec: PagesSpec, taker: FileCollector, directory: Path) -> list[Collected]:
    """The files below the directory that is published, as an archive; none, with a warning, if there are none.

    Raises EngineError, BadArchive, OSError.
    """
    written = taker.expand(spec.publish)
    relative = relative_pattern(written, taker.project_dir)
    if not relative or META.search(relative):
        taker.warnings.append(f"no pages: {posixpath.normpath(written)} is no directory of the project")
        return []
    path = directory / "pages.tar.zst"
    with ArchiveWriter(path) as out:
        pages = _Pages(relative, out)
        msgspec.structs.replace(taker, warnings=[], empty=[]).take(Selection([relative]), pages)
    if not pages.files:
        path.unlink()
        taker.warnings.append(f"no pages: there are no files in {relative}")
        return []
    return [Collected(PAGES, path, relative, out.digest, files=pages.files, bytes=pages.bytes)]
