"""Takes files out of an ended container by GitLab's patterns: artifacts, reports, what goes into a cache."""

from __future__ import annotations

import posixpath
import shutil
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from daemon.archives import ArchiveWriter, Members, copy_members
from daemon.engine import Engine, EngineError
from daemon.executor import Collected
from daemon.globs import Patterns, fixed_prefix, outermost, relative_pattern
from protocol.plan import ArtifactsSpec

REPORT_BYTES = 64 << 20
"""A report file that is larger is left where it is."""

Expand = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Selection:
    """What to take, relative to the project directory. `known`: also take all files but these (None: don't)."""

    patterns: Sequence[str]
    exclude: Sequence[str] = ()
    known: frozenset[str] | None = None


@dataclass(slots=True)
class Taker:
    """Takes selections out of one container. `warnings` are for people: patterns that match nothing, or can't."""

    engine: Engine
    container: str
    project_dir: str
    expand: Expand
    warnings: list[str] = field(default_factory=list)

    def take(self, selection: Selection, out: Members) -> bool:
        """Gives all selected files to `out`; whether there were any. Raises EngineError, BadArchive, UsageError."""
        relative = {pattern: relative_pattern(self.expand(pattern), self.project_dir) for pattern in selection.patterns}
        self.warnings += [
            f"{pattern}: not in the project directory" for pattern, path in relative.items() if path is None
        ]
        inside = [path for path in relative.values() if path is not None]
        patterns = Patterns(inside)
        exclude = Patterns([relative_pattern(self.expand(e), self.project_dir) or "" for e in selection.exclude])
        matched: set[int] = set()
        taken = 0

        def wanted(name: str, is_directory: bool) -> bool:
            nonlocal taken
            if exclude.match(name):
                return False
            covering = patterns.covering(name)
            matched.update(covering)
            known = selection.known
            new = known is not None and not is_directory and name not in known and not name.startswith(".git/")
            taken += bool(covering) or new
            return bool(covering) or new

        everything = [""] if selection.known is not None else []
        for prefix in outermost([*everything, *(fixed_prefix(path) for path in inside)]):
            self._take_below(prefix, wanted, out)
        unmatched = (path for index, path in enumerate(inside) if index not in matched)
        self.warnings += [f"{path or '.'}: no matching files" for path in unmatched]
        return taken > 0

    def _take_below(self, prefix: str, wanted: Callable[[str, bool], bool], out: Members) -> None:
        """Files under one path; the engine's archive of it has its last component as the first of all names."""
        path = posixpath.join(self.project_dir, prefix) if prefix else self.project_dir
        top, parent = posixpath.basename(path), posixpath.dirname(prefix)

        def place(name: str) -> str | None:
            if name != top and not name.startswith(top + "/"):
                return None
            return posixpath.join(parent, name) if prefix else name[len(top) + 1 :]

        try:
            with self.engine.get_archive(self.container, path) as stream:
                homeless = copy_members(stream, place, wanted, out)
        except EngineError as error:
            if error.status == 404:
                return
            raise
        for name in homeless:  # asked for by itself, a hard link comes with its data
            self._take_below(name, wanted, out)


class ReportFiles:
    """Puts report files into a directory, each by itself."""

    def __init__(self, kind: str, directory: Path, warnings: list[str]) -> None:
        self.names: set[str] = set()
        self.collected: list[Collected] = []
        self._kind = kind
        self._directory = directory
        self._warnings = warnings

    def directory(self, info: tarfile.TarInfo) -> None:
        """Nothing to do: reports are files."""

    def add(self, info: tarfile.TarInfo, data: BinaryIO | None) -> None:
        """Keeps a file."""
        if data is None or info.name in self.names:
            return
        if info.size > REPORT_BYTES:
            self._warnings.append(f"{info.name}: a report of {info.size} bytes is too large, at most {REPORT_BYTES}")
            return
        self.names.add(info.name)
        path = self._directory / f"{self._kind}-{len(self.names)}"
        with path.open("wb") as file:
            shutil.copyfileobj(data, file)
        self.collected.append(Collected(self._kind, path, info.name))


def due(when: str, succeeded: bool) -> bool:
    """Whether something that is kept `when` is kept now."""
    return when == "always" or (when == "on_success") == succeeded


def collect_artifacts(
    spec: ArtifactsSpec, taker: Taker, known: Callable[[], frozenset[str]], directory: Path, *, succeeded: bool
) -> list[Collected]:
    """Archive and reports of a job, in `directory`; reports are taken however the job has ended.

    `known` gives the names in the workspace as it was laid in. Raises EngineError, BadArchive, UsageError, OSError.
    """
    collected: list[Collected] = []
    if due(spec.when, succeeded) and (spec.paths or spec.untracked):
        selection = Selection(spec.paths, spec.exclude, known() if spec.untracked else None)
        path = directory / "artifacts.tar.gz"
        with ArchiveWriter(path) as out:
            any_taken = taker.take(selection, out)
        if any_taken:
            collected.append(Collected("archive", path, taker.expand(spec.name) or "artifacts"))
        else:
            path.unlink()
    for kind, patterns in (("dotenv", spec.dotenv), ("junit", spec.junit)):
        if patterns:
            files = ReportFiles(kind, directory, taker.warnings)
            taker.take(Selection(patterns), files)
            collected += files.collected
    return collected
