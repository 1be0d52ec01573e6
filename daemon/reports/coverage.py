"""Summarises `artifacts:reports:coverage_report` files: Cobertura and JaCoCo. Pure: reads the streams it is given.

GitLab shows covered lines in the diff of a merge request; here, each file's share of them is shown. A file is found in
the job's workspace by GitLab's rules: Cobertura's `<source>` elements name the directories of its files, JaCoCo's
packages are the ends of paths.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable
from itertools import chain, groupby
from typing import BinaryIO

import msgspec

from daemon.reports.files import BadReport, Mask, ReportFiles, read_each
from daemon.reports.xml_reader import read_xml
from protocol.reports import MOST_FILES, FileCoverage, LineCoverage

MOST_SOURCES = 100
"""Limit of source directories, as in GitLab; further ones are not read."""
MOST_PATH = 200
"""Characters of a path that are kept."""
MOST_LINES = 4_000_000
"""Limit of lines in all of a job's files, which bounds the worker's memory."""
LARGEST_LINE = (1 << 31) - 1


class Workspace(msgspec.Struct, frozen=True):
    """A job's project: its path (`web/shop`), its directory in the container, and the names of its files, if known."""

    project: str
    directory: str
    names: frozenset[str] = frozenset()


class CoverageReport(msgspec.Struct):
    """Summary of report files. `lines` is None if no file could be read; `odd` has the reasons, by file."""

    lines: LineCoverage | None = None
    odd: list[str] = []


class _Lines:
    """Lines by file, each as its number and whether it is covered in one integer: a report may have millions."""

    def __init__(self, mask: Mask) -> None:
        self.files: dict[str, array[int]] = {}
        self.outside: set[str] = set()
        self.count = 0
        self._mask = mask

    def add(self, path: str, number: str | None, hits: str | None) -> None:
        """Records a line. Raises BadReport if its numbers are none, or if there are too many lines."""
        try:
            line, covered = int(number or ""), int(hits or "") > 0
        except ValueError:
            raise BadReport(f"a line of {self._name(path)} has no valid number of itself or of its hits") from None
        if not 0 <= line <= LARGEST_LINE:
            raise BadReport(f"a line of {self._name(path)} has the number {number}")
        self.count += 1
        if self.count > MOST_LINES:
            raise BadReport(f"more than {MOST_LINES:,} lines")
        self.files.setdefault(path, array("I")).append(line << 1 | covered)

    def merge(self, other: _Lines) -> None:
        """Adds another file's lines, without duplicates. Raises BadReport, and adds none, if there are too many."""
        merged = {path: _distinct(chain(self.files.get(path, ()), lines)) for path, lines in other.files.items()}
        count = self.count + sum(len(lines) - len(self.files.get(path, ())) for path, lines in merged.items())
        if count > MOST_LINES:
            raise BadReport(f"more than {MOST_LINES:,} lines, with those of the other files")
        self.count = count
        self.files |= merged
        self.outside |= other.outside

    def summary(self) -> LineCoverage:
        files = [self._count(path, lines) for path, lines in self.files.items()]
        files.sort(key=lambda file: (file.covered / file.total, file.covered - file.total, file.path))
        return LineCoverage(
            covered=sum(file.covered for file in files),
            total=sum(file.total for file in files),
            files=len(files),
            outside=len(self.outside),
            worst=files[:MOST_FILES],
        )

    def _count(self, path: str, lines: Iterable[int]) -> FileCoverage:
        """The coverage of distinct entries: a line with an odd one is covered, whatever another report says."""
        covered = sum(entry & 1 for entry in lines)
        total = sum(1 for _ in groupby(entry >> 1 for entry in lines))
        return FileCoverage(path=self._name(path), covered=covered, total=total)

    def _name(self, path: str) -> str:
        return self._mask(path)[:MOST_PATH]


def _distinct(lines: Iterable[int]) -> array[int]:
    """Entries in order, each once. Sorting takes less memory than a set."""
    return array("I", (entry for entry, _ in groupby(sorted(lines))))


def parse_cobertura(files: ReportFiles, workspace: Workspace, mask: Mask = str) -> CoverageReport:
    """The coverage of Cobertura files; an unreadable one is skipped."""
    return _parse(files, lambda: _Cobertura(workspace, _Lines(mask)), _Lines(mask))


def parse_jacoco(files: ReportFiles, workspace: Workspace, mask: Mask = str) -> CoverageReport:
    """The coverage of JaCoCo files; an unreadable one is skipped."""
    names = _names_by_last(workspace.names)
    return _parse(files, lambda: _JaCoCo(names, _Lines(mask)), _Lines(mask))


def _parse(files: ReportFiles, make: Callable[[], _Cobertura | _JaCoCo], total: _Lines) -> CoverageReport:
    read = 0

    def count(stream: BinaryIO) -> None:
        nonlocal read
        handler = make()
        read_xml(stream, handler)
        total.merge(handler.lines)
        read += 1

    odd = read_each(files, count)
    return CoverageReport(total.summary() if read else None, odd)


class _Cobertura:
    """Reads `<source>` directories, and the `<line>` elements of each `<class>`, which names a file.

    Methods repeat lines of their class, which count once.
    """

    roots = ("coverage",)

    def __init__(self, workspace: Workspace, lines: _Lines) -> None:
        self.lines = lines
        self._workspace = workspace
        self._sources: list[str] = []
        self._source: list[str] | None = None  # the text of the current <source>
        self._path: str | None = None  # the file of the current <class>
        self._package: set[str] = set()  # the files of the current <package>
        self._taken: set[str] = set()  # those of earlier packages

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        if tag == "source":
            self._source = []
        elif tag == "class":
            self._path = self._find(attributes.get("filename", ""))
        elif tag == "line" and self._path is not None:
            self.lines.add(self._path, attributes.get("number"), attributes.get("hits"))

    def text(self, data: str) -> None:
        if self._source is not None:
            self._source.append(data)

    def end(self, tag: str) -> None:
        if tag == "source":
            self._add_source("".join(self._source or ()))
            self._source = None
        elif tag == "class" and self._path is not None:
            self._package.add(self._path)
            self._path = None
        elif tag == "package":
            self._taken |= self._package
            self._package = set()

    def _add_source(self, text: str) -> None:
        """Keeps the part of a source directory that is in the project."""
        path = text.strip().replace("\\", "/")
        if not self._workspace.names or len(self._sources) >= MOST_SOURCES:
            return
        if path.startswith(f"{self._workspace.directory}/"):
            source = path.removeprefix(f"{self._workspace.directory}/")
        else:
            source = path.partition(f"{self._workspace.project}/")[2]
        if source.strip("/"):
            self._sources.append(source.rstrip("/"))

    def _find(self, name: str) -> str | None:
        """The file of this name in the first source directory that has it.

        As in GitLab, packages with a file of the same name have it in different directories.
        """
        if not name:
            return None
        names = self._workspace.names
        relative = name.removeprefix(f"{self._workspace.directory}/")
        if not self._sources:
            return relative
        for source in self._sources:
            path = f"{source}/{name.lstrip('/')}"
            if path in names and path not in self._taken:
                return path
        if relative in names:
            return relative
        self.lines.outside.add(name)
        return None


class _JaCoCo:
    """Reads the `<line>` elements of each `<sourcefile>`, whose path is its groups, its package and its name."""

    roots = ("report",)

    def __init__(self, names: dict[str, list[str]], lines: _Lines) -> None:
        self.lines = lines
        self._names = names
        self._groups: list[str] = []
        self._package = ""
        self._path: str | None = None

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        name = attributes.get("name", "").replace("\\", "/").strip("/")
        if tag == "group":
            self._groups.append(name)
        elif tag == "package":
            self._package = name
        elif tag == "sourcefile":
            self._path = self._find(name)
        elif tag == "line" and self._path is not None:
            self.lines.add(self._path, attributes.get("nr"), attributes.get("ci"))

    def text(self, data: str) -> None:
        """A JaCoCo file has no text."""

    def end(self, tag: str) -> None:
        if tag == "group":
            self._groups.pop()
        elif tag == "sourcefile":
            self._path = None

    def _find(self, name: str) -> str | None:
        """The first file whose path ends with groups, package and name; else, with package and name alone.

        A group is usually a module, whose sources are further below (`shop/src/main/java/...`).
        """
        inner = "/".join(part for part in (self._package, name) if part)
        whole = "/".join(part for part in (*self._groups, inner) if part)
        if not self._names:
            return whole
        likely = self._names.get(name.rpartition("/")[2], [])
        module = self._groups[-1] if self._groups else ""
        for path in likely:
            if f"/{path}".endswith(f"/{whole}"):
                return path
        found = [path for path in likely if f"/{path}".endswith(f"/{inner}")]
        for path in found:
            if f"/{module}/" in f"/{path}":
                return path
        if found:
            return found[0]
        self.lines.outside.add(whole)
        return None


def _names_by_last(names: Iterable[str]) -> dict[str, list[str]]:
    """Paths in order, by their last component."""
    found: dict[str, list[str]] = {}
    for name in sorted(names):
        found.setdefault(name.rpartition("/")[2], []).append(name)
    return found
