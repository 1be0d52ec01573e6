"""Collects the problems of a pipeline file, so that all are reported at once. Pure."""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from pipeline.nodes import Mark
from protocol.errors import LongshoreError, PipelineFileError, Problem

MAX_PROBLEMS = 100
"""Maximum number of reported problems: more than anyone reads."""


MAX_COMPARED = 2_000
"""Maximum number of known words compared with an unknown one."""


def problem(message: str, mark: Mark | None, key: str = "", mend: str = "") -> Problem:
    """A problem at a place."""
    if mark is None:
        return Problem(message, key=key, mend=mend)
    origin, line, *rest = mark
    return Problem(message, origin.name, line, key, mend, origin.included_from, *rest)


def fatal(message: str, mark: Mark | None, key: str = "", mend: str = "") -> PipelineFileError:
    """The error for a problem that ends the analysis of the file."""
    return PipelineFileError([problem(message, mark, key, mend)])


def nearest(word: str, known: Iterable[str]) -> str:
    """`did you mean X?` if a known word is close to `word`, else empty."""
    likely = (other for other in known if abs(len(other) - len(word)) <= len(word) // 2)
    found = difflib.get_close_matches(word[:100], itertools.islice(likely, MAX_COMPARED), n=1, cutoff=0.7)
    return f"did you mean {found[0]!r}?" if found else ""


class Report:
    """The problems and warnings of one compilation, without duplicates."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []
        self.found = 0
        """Number of problems that were recorded, duplicates included."""
        self._seen: set[tuple[object, ...]] = set()
        self._warned: set[str] = set()

    def problem(self, message: str, mark: Mark | None, key: str = "", mend: str = "") -> None:
        """Records a problem that makes the file invalid."""
        self.found += 1
        self._note(self.problems, "problem", problem(message, mark, key, mend))

    def warning(self, message: str, mark: Mark | None, key: str = "", mend: str = "") -> None:
        """Records a suspicious construct, or one without effect here."""
        self._note(self.warnings, "warning", problem(message, mark, key, mend))

    def without_effect(self, keyword: str, reason: str, mark: Mark | None, key: str) -> None:
        """Warns of a keyword without effect here, once per compilation rather than in every job."""
        if keyword not in self._warned:
            self._warned.add(keyword)
            self.warning(f"has no effect here: {reason}", mark, key)

    def add(self, error: PipelineFileError) -> None:
        """Adds the problems of an error that ended one part of the work."""
        for found in error.problems:
            self.found += 1
            self._note(self.problems, "problem", found)

    @contextmanager
    def catching(self, mark: Mark | None, key: str) -> Iterator[None]:
        """Records an error that ends this part of the work, and goes on after it."""
        try:
            yield
        except PipelineFileError as error:
            self.add(error)
        except LongshoreError as error:
            self.problem(str(error), mark, key)

    @property
    def full(self) -> bool:
        """Whether MAX_PROBLEMS is reached, so the search for problems can stop."""
        return len(self.problems) > MAX_PROBLEMS

    def raise_if_any(self) -> None:
        """Raises PipelineFileError if a problem was recorded."""
        if self.problems:
            raise PipelineFileError(self.problems)

    def _note(self, kept: list[Problem], kind: str, found: Problem) -> None:
        # Jobs that extend one hidden job share its mistakes: same place, same message, another job in the key.
        what = (kind, found.file, found.line, found.message, found.key.rpartition(".")[2])
        if len(kept) > MAX_PROBLEMS or what in self._seen:
            return
        self._seen.add(what)
        kept.append(found if len(kept) < MAX_PROBLEMS else Problem("there are more; fix these first", found.file))
