"""The pipeline of a commit that nobody has checked out, compiled with given facts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from pipeline.includes.resolver import Including
from pipeline.includes.sources import Source
from pipeline.nodes import Map, Mark, Origin
from pipeline.problems import Report, fatal
from pipeline.project_variables import FILE_NAME, parsed_variables
from pipeline.rules import History
from protocol.errors import LongshoreError
from protocol.plan import Variable


class CommitSubject(msgspec.Struct, frozen=True):
    """See `Subject`. `name` is the path of the pipeline file in `source`, `facts` are the variables of all jobs."""

    name: str
    source: Source
    history: History
    facts: Sequence[Variable]

    def project_variables(self, report: Report) -> list[Variable]:
        """See Subject."""
        try:
            data = self.source.read(FILE_NAME)
        except LongshoreError as error:
            raise fatal(str(error), Mark(Origin(FILE_NAME), 0)) from None
        return [] if data is None else parsed_variables(data, report)

    def predefined(self, given: Mapping[str, str]) -> dict[str, str]:
        """See Subject."""
        return {variable.key: variable.value for variable in self.facts}

    def pipeline(self, including: Including) -> Map:
        """See Subject."""
        top = Mark(Origin(self.name), 0)
        try:
            data = self.source.read(self.name)
        except LongshoreError as error:
            raise fatal(str(error), top) from None
        if data is None:
            raise fatal("no such file", top)
        return including.pipeline(data, self.name, Map(top))
