"""The pipeline of another project that a job's `trigger` starts, compiled with the facts of that project."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from pipeline.child import given_inputs
from pipeline.git_repository import NO_SHA
from pipeline.includes.resolver import Including
from pipeline.includes.sources import Source
from pipeline.nodes import Map, Mark, Origin
from pipeline.problems import Report, fatal
from pipeline.rules import History
from protocol.errors import LongshoreError
from protocol.job_variables import PIPELINE_NAME
from protocol.plan import TriggerPlan, Variable

MULTI_PROJECT = "pipeline"
"""`CI_PIPELINE_SOURCE` of a pipeline that a job of another project has started."""
OF_OTHER_PIPELINES = ("CI_MERGE_REQUEST_", "CI_EXTERNAL_PULL_REQUEST_", "CI_PARENT_", "CI_UPSTREAM_")
"""Prefixes of facts that are not the project's, but of the kind of pipeline that they were found for."""


class DownstreamSubject(msgspec.Struct, frozen=True):
    """See `Subject`. `path` is the pipeline file in `source`, `upstream` the run whose job, of this id, starts the
    pipeline, and `upstream_project` the `CI_PROJECT_ID` of that run.

    `inherited` and `own` are the facts and the variables of the project.
    """

    path: str
    upstream: int
    upstream_project: str
    job: int
    trigger: TriggerPlan
    source: Source
    history: History
    inherited: Sequence[Variable]
    own: Sequence[Variable]

    @property
    def name(self) -> str:
        """See Subject."""
        return f"{self.trigger.project}:{self.path}"

    def project_variables(self, report: Report) -> list[Variable]:
        """See Subject."""
        return list(self.own)

    def predefined(self, given: Mapping[str, str]) -> dict[str, str]:
        """See Subject. Nobody has pushed anything: it is the pipeline of a branch or tag as it is."""
        facts = {each.key: each.value for each in self.inherited if not each.key.startswith(OF_OTHER_PIPELINES)}
        for key in (PIPELINE_NAME, "CI_PIPELINE_TRIGGERED"):
            facts.pop(key, None)
        if "CI_COMMIT_TAG" not in facts:
            facts["CI_COMMIT_BRANCH"] = facts.get("CI_COMMIT_REF_NAME", "")
        return facts | {
            "CI_COMMIT_BEFORE_SHA": NO_SHA,
            "CI_PIPELINE_SOURCE": MULTI_PROJECT,
            "CI_UPSTREAM_JOB_ID": str(self.job),
            "CI_UPSTREAM_PIPELINE_ID": str(self.upstream),
            "CI_UPSTREAM_PROJECT_ID": self.upstream_project,
        }

    def pipeline(self, including: Including) -> Map:
        """See Subject."""
        top = Mark(Origin(self.name), 0)
        try:
            data = self.source.read(self.path)
        except LongshoreError as error:
            raise fatal(str(error), top) from None
        if data is None:
            raise fatal("the files of that project's run do not have this pipeline file", top)
        return including.pipeline(data, self.name, given_inputs(self.trigger.inputs, top, including.report))
