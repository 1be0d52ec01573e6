"""Takes files out of an ended container by GitLab's patterns: artifacts, reports, cache contents."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import msgspec

from daemon.executors.base import DESCRIPTION, Collected
from daemon.executors.common.archive_members import ArchiveWriter, Members, Selected, copy_file, copy_members
from daemon.executors.common.globs import META, Patterns, fixed_prefix, outermost, relative_pattern
from daemon.executors.docker.api_client import DockerClient, EngineError
from daemon.tar_stream import Member
from protocol.compression import LEVEL, LEVELS
from protocol.display import printable
from protocol.errors import UsageError
from protocol.plan import ArtifactsSpec

NOT_THERE = re.compile("not a directory|file name too long", re.IGNORECASE)
"""The engine's error for a path that leads through a file, or that is invalid."""
CIRCULAR = re.compile("too many (levels of symbolic )?links", re.IGNORECASE)
"""The engine's error for a path to or through a cyclic symbolic link."""
MOST_LINKS = 40
"""Limit of links from one to the next, as in Linux."""
REPORT_BYTES = 64 << 20
"""Maximum size of a report file; a larger one is skipped."""

ABOUT_FILES = frozenset({"cobertura", "jacoco"})
"""Kinds of reports about the workspace's files."""

Expand = Callable[[str], str]


class Selection(msgspec.Struct, frozen=True):
    """Files to take, relative to the project directory. `known`: also take all files but these (None: don't)."""

    patterns: Sequence[str]
    exclude: Sequence[str] = ()
    known: frozenset[str] | None = None


class FileCollector(msgspec.Struct):
    """Takes selections out of one container. `warnings` are for people: patterns without a match, or invalid ones.

    `empty` collects directories of patterns that do not exist; `through_links` is set if patterns lead through symbolic
    links.
    """

    engine: DockerClient
    container: str
    project_dir: str
    expand: Expand
    warnings: list[str] = []
    empty: list[str] = []
    through_links: bool = False

    def directories(self, patterns: Sequence[str]) -> list[str]:
        """The directories of all possible matches, relative to the project directory, none of them below another."""
        inside = (relative_pattern(self.expand(pattern), self.project_dir) for pattern in patterns)
        return outermost([fixed_prefix(path) for path in inside if path is not None])

    def level(self, variable: str) -> int:
        """The level of compression that a variable of the job asks for; a warning for an unknown one."""
        name = self.expand(f"${variable}").strip().lower()
        if name and name not in LEVELS:
            self.warnings.append(f"{variable} has no effect: {name[:100]!r} is none of {', '.join(LEVELS)}")
        return LEVELS.get(name, LEVEL)

    def take(self, selection: Selection, out: Members) -> bool:
        """Passes selected files to `out`; returns whether any exist. Raises EngineError, BadArchive, UsageError."""
        relative = {pattern: relative_pattern(self.expand(pattern), self.project_dir) for pattern in selection.patterns}
        self.warnings += [
            f"{pattern}: not in the project directory" for pattern, path in relative.items() if path is None
        ]
        inside = self._sound(path for path in relative.values() if path is not None)
        exclude = filter(None, (relative_pattern(self.expand(each), self.project_dir) for each in selection.exclude))
        taking = _Taking(self, selection, inside, Patterns(self._sound(exclude)), out)
        everything = [""] if selection.known is not None else []
        for prefix in outermost([*everything, *(fixed_prefix(path) for path in inside)]):
            taking.take_below(prefix)
        self.warnings += taking.warnings()
        return taking.taken > 0

    def _sound(self, patterns: Iterable[str]) -> list[str]:
        """The valid patterns: as in GitLab, an invalid one matches nothing."""
        sound = []
        for pattern in patterns:
            try:
                Patterns([pattern])
                sound.append(pattern)
            except UsageError as error:
                self.warnings.append(str(error))
        return sound


class _Taking:
    """One selection in transfer out of a container. `inside` are its patterns."""

    def __init__(
        self, taker: FileCollector, selection: Selection, inside: Sequence[str], exclude: Patterns, out: Members
    ) -> None:
        self.taken = 0
        self._taker = taker
        self._known = selection.known
        self._inside = inside
        self._patterns = Patterns(inside)
        self._exclude = exclude
        self._out = out
        self._matched: set[int] = set()
        self._left_out: list[str] = []
        self._excluded = 0
        self._followed: set[str] = set()

    def warnings(self) -> list[str]:
        """Warnings for people."""
        said = [f"{path or '.'}: no matching files" for i, path in enumerate(self._inside) if i not in self._matched]
        if self._excluded and not self.taken:
            said.append(f"exclude removes all {self._excluded} matching files and directories")
        if self._left_out:
            others = len(self._left_out) - 1
            more = f" (and {others} more)" if others else ""
            said.append(f"{printable(self._left_out[0])}{more}: left out, as it is a device or a pipe")
        return said

    def take_below(self, prefix: str, linked: frozenset[int] | None = None) -> None:
        """Takes files under one path; names in the engine's archive begin with the path's last component.

        `linked`: the path is a symbolic link, and only matches of these patterns are taken below its target.
        """
        path = posixpath.join(self._taker.project_dir, prefix) if prefix else self._taker.project_dir
        top, parent = posixpath.basename(path), posixpath.dirname(prefix)

        def place(name: str) -> str | None:
            if name == top and linked is not None:
                return None
            if name != top and not name.startswith(top + "/"):
                return None
            return posixpath.join(parent, name) if prefix else name[len(top) + 1 :]

        def wanted(name: str, is_directory: bool) -> bool:
            return self._wanted(name, is_directory, linked)

        def through(name: str) -> bool:
            return bool(self._beyond(name, linked))

        selected = Selected(place, wanted, through)
        try:
            # With a trailing slash the engine resolves a link's path to the target directory.
            asked = path if linked is None else f"{path}/"
            with self._taker.engine.get_archive(self._taker.container, asked) as stream:
                copy_members(stream, asked, selected, self._out)
        except EngineError as error:
            if error.status == 404 or NOT_THERE.search(error.message):
                self._taker.empty.append(prefix)
                return
            if linked is None and prefix and CIRCULAR.search(error.message):
                self.take_below(parent)
                return
            if linked is not None and CIRCULAR.search(error.message):
                return
            raise
        self._left_out += selected.left_out
        self._taker.through_links |= bool(selected.links)
        for link in selected.links:
            if not self._take_beyond(link, linked) and self._wanted(link.name, False, linked):
                self._take_link(link)
        for name in selected.hard_links:  # requested by itself, a hard link carries its data
            self.take_below(name)

    def _take_beyond(self, link: Member, linked: frozenset[int] | None) -> bool:
        """Takes matches below a link to a directory, under the link's name; returns whether there are any."""
        before = self.taken
        if beyond := self._beyond(link.name, linked):
            self.take_below(link.name, beyond)
        return self.taken > before

    def _take_link(self, link: Member) -> None:
        """Takes a link itself, or its target file."""
        if not self._out.follows:
            self._out.add(link, iter(()))
            return
        if link.name in self._followed:
            return
        self._followed.add(link.name)
        path, target = posixpath.join(self._taker.project_dir, link.name), link.target
        for _ in range(MOST_LINKS):
            path = posixpath.join(posixpath.dirname(path), target)
            try:
                with self._taker.engine.get_archive(self._taker.container, path) as stream:
                    found, target = copy_file(stream, path, link.name, self._out)
            except EngineError as error:
                if error.status == 404 or NOT_THERE.search(error.message) or CIRCULAR.search(error.message):
                    break
                raise
            if found:
                return
            if not target:
                break
        self._taker.warnings.append(f"{printable(link.name)}: a symbolic link that leads to no file")

    def _beyond(self, name: str, linked: frozenset[int] | None) -> frozenset[int]:
        beyond = self._patterns.beyond(name)
        return frozenset(beyond if linked is None else beyond & linked)

    def _wanted(self, name: str, is_directory: bool, linked: frozenset[int] | None) -> bool:
        covering = self._patterns.covering(name)
        if linked is not None:
            covering = [index for index in covering if index in linked]
        self._matched.update(covering)
        if self._exclude.match(name):
            self._excluded += bool(covering)
            return False
        known = None if linked is not None else self._known
        new = known is not None and not is_directory and name not in known and not name.startswith(".git/")
        self.taken += bool(covering) or new
        return bool(covering) or new


class ReportFiles:
    """Puts report files into a directory, each separately."""

    follows = True

    def __init__(self, kind: str, directory: Path, warnings: list[str], workspace: frozenset[str]) -> None:
        self.names: set[str] = set()  # always empty: a hard link is its own report
        self.collected: list[Collected] = []
        self._kept: set[str] = set()
        self._kind = kind
        self._directory = directory
        self._warnings = warnings
        self._workspace = workspace

    def directory(self, member: Member) -> None:
        """Nothing to do: reports are files."""

    def add(self, member: Member, data: Iterator[bytes]) -> None:
        """Keeps a file."""
        if not member.is_file or member.name in self._kept:
            return
        self._kept.add(member.name)
        name = printable(member.name)
        if member.size > REPORT_BYTES:
            self._warnings.append(f"{name}: a report of {member.size} bytes is too large, at most {REPORT_BYTES}")
            return
        path = self._directory / f"{self._kind}-{len(self._kept)}"
        with path.open("wb") as file:
            file.writelines(data)
        self.collected.append(Collected(self._kind, path, name, workspace=self._workspace))


class _OneFile(ReportFiles):
    """Keeps a file of exactly this name, and nothing else of what its pattern matches."""

    def __init__(self, name: str, kind: str, directory: Path) -> None:
        super().__init__(kind, directory, [], frozenset())
        self._name = name

    def add(self, member: Member, data: Iterator[bytes]) -> None:
        """Keeps the file."""
        if member.name == self._name:
            super().add(member, data)


def due(when: str, succeeded: bool) -> bool:
    """Whether something with this `when` is kept now."""
    return when == "always" or (when == "on_success") == succeeded


def collect_artifacts(
    spec: ArtifactsSpec, taker: FileCollector, known: Callable[[], frozenset[str]], directory: Path, *, succeeded: bool
) -> list[Collected]:
    """A job's archive and reports, in `directory`; reports are taken regardless of the job's result.

    `known` returns the names in the unpacked workspace. Raises EngineError, BadArchive, UsageError, OSError.
    """
    collected: list[Collected] = []
    if due(spec.when, succeeded) and (spec.paths or spec.untracked):
        selection = Selection(spec.paths, spec.exclude, known() if spec.untracked else None)
        path = directory / "artifacts.tar.zst"
        with ArchiveWriter(path, taker.level("ARTIFACT_COMPRESSION_LEVEL")) as out:
            any_taken = taker.take(selection, out)
        if any_taken:
            inside = (relative_pattern(taker.expand(pattern), taker.project_dir) for pattern in spec.paths)
            paths = [path or "." for path in inside if path is not None]
            collected.append(Collected("archive", path, taker.expand(spec.name) or "artifacts", out.digest, paths))
        else:
            path.unlink()
    for kind, patterns in spec.reports.items():
        files = ReportFiles(kind, directory, taker.warnings, known() if kind in ABOUT_FILES else frozenset())
        taker.take(Selection(patterns), files)
        collected += files.collected
    return collected


def collect_description(written: str, taker: FileCollector, directory: Path) -> list[Collected]:
    """The file that a release's description names, if it names one: a text with white space is the description itself.

    Raises EngineError, BadArchive, OSError.
    """
    path = taker.expand(written)
    relative = relative_pattern(path, taker.project_dir) if path and not re.search(r"\s", path) else None
    if not relative or META.search(relative):
        return []
    file = _OneFile(relative, DESCRIPTION, directory)
    msgspec.structs.replace(taker, warnings=[], empty=[]).take(Selection([relative]), file)
    return file.collected
