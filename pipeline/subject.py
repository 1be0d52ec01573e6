"""What is compiled: where a pipeline's file, its project's files and its variables come from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from pipeline import predefined_variables
from pipeline.git_repository import Repository, readable
from pipeline.includes.resolver import Including
from pipeline.includes.sources import Source, WorkTree, read_file
from pipeline.inputs import Written
from pipeline.nodes import Map, Mark, Origin
from pipeline.problems import Report
from pipeline.project_variables import project_variables
from pipeline.rules import History
from protocol.errors import LongshoreError, PipelineFileError, Problem
from protocol.plan import Variable


class Subject(Protocol):
    """What is compiled: a pipeline file of a repository, or a child pipeline of a run.

    `name` names the file in messages. `source` has the project's files, `history` their changes.
    """

    @property
    def name(self) -> str: ...

    @property
    def source(self) -> Source: ...

    @property
    def history(self) -> History: ...

    def project_variables(self, report: Report) -> list[Variable]:
        """The project's own variables. Raises PipelineFileError."""

    def predefined(self, given: Mapping[str, str]) -> dict[str, str]:
        """The variables of all jobs that GitLab predefines; `given` are those of the project and the user."""

    def pipeline(self, including: Including) -> Map:
        """The pipeline with all includes merged in. Problems go into the report of `including`, or are raised."""


class FileSubject:
    """A pipeline file of a repository. Raises PipelineFileError if the file can't be read."""

    def __init__(self, path: Path, repository: Repository, inputs: Mapping[str, str]) -> None:
        self._path = path
        self._repository = repository
        self._inputs = inputs
        self.source: Source = WorkTree(repository)
        self.history: History = repository
        self.name = self._display_name()
        self._data = self._read()

    def project_variables(self, report: Report) -> list[Variable]:
        """See Subject: they are in a file beside the pipeline file."""
        return project_variables(self._path.parent, report)

    def predefined(self, given: Mapping[str, str]) -> dict[str, str]:
        """See Subject."""
        return predefined_variables.of_pipeline(self._repository, self.name, given)

    def pipeline(self, including: Including) -> Map:
        """See Subject."""
        top = Mark(Origin(self.name), 0)
        return including.pipeline(
            self._data, self.name, Map(top, [(key, Written(value), top) for key, value in self._inputs.items()])
        )

    def _display_name(self) -> str:
        try:
            return readable(str(self._path.resolve().relative_to(self._repository.root)))
        except (ValueError, OSError):
            return readable(str(self._path))

    def _read(self) -> bytes:
        try:
            data = read_file(self._path)
        except LongshoreError as error:
            raise PipelineFileError([Problem(str(error), str(self._path))]) from None
        if data is None:
            raise PipelineFileError([Problem("no such file", str(self._path))])
        return data
