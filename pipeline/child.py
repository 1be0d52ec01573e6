"""A child pipeline: files named by a job's `trigger`, compiled with the facts of the parent pipeline."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec

from pipeline.includes.entries import is_yaml
from pipeline.includes.resolver import Including
from pipeline.includes.sources import Source
from pipeline.merge import deep_merge
from pipeline.nodes import Map, Mark, Origin, Value, shown_file
from pipeline.problems import Report, fatal, nearest
from pipeline.rules import History
from pipeline.yaml_loader import load
from protocol.job_variables import PIPELINE_NAME
from protocol.plan import TriggerInclude, TriggerPlan, Variable
from protocol.variables import expand

PARENT_PIPELINE = "parent_pipeline"
"""`CI_PIPELINE_SOURCE` of a child pipeline."""
MOST_FILES = 3
"""Maximum number of files of a child pipeline, as in GitLab."""


NAMES = ("local", "project", "file", "ref", "remote", "template", "component")
"""Keywords of an `include` that a trigger's file may have too."""


class ChildSubject(msgspec.Struct, frozen=True):
    """See `Subject`. `name` is the parent's pipeline file, `parent` the number of its run, `job` the one that starts
    the child, with its id.

    `inherited` and `own` are the predefined and the project's variables of the parent. `artifact` reads a file of a
    job's artifacts, and raises LongshoreError.
    """

    name: str
    parent: int
    job: str
    job_id: int
    trigger: TriggerPlan
    source: Source
    history: History
    inherited: Sequence[Variable]
    own: Sequence[Variable]
    artifact: Callable[[str, str], bytes]

    def project_variables(self, report: Report) -> list[Variable]:
        """See Subject."""
        return list(self.own)

    def predefined(self, given: Mapping[str, str]) -> dict[str, str]:
        """See Subject: all facts of the commit and project are those of the parent."""
        facts = {variable.key: variable.value for variable in self.inherited if variable.key != PIPELINE_NAME}
        return facts | {
            "CI_PIPELINE_SOURCE": PARENT_PIPELINE,
            "CI_PARENT_PIPELINE_ID": str(self.parent),
            "CI_UPSTREAM_JOB_ID": str(self.job_id),
            "CI_UPSTREAM_PIPELINE_ID": str(self.parent),
        }

    def pipeline(self, including: Including) -> Map:
        """See Subject. A later file takes precedence over an earlier one."""
        mark = Mark(Origin(self.name), 0)
        merged = Map(mark)
        for number, include in enumerate(self.trigger.include):
            key = f"{self.job}.trigger.include"
            if len(self.trigger.include) > 1:
                key += f"[{number}]"
            if number == MOST_FILES:
                raise fatal(f"names more than {MOST_FILES} files", mark, key)
            if not self._is_wanted(include, including, mark, key):
                continue
            with including.report.catching(mark, key):
                merged = deep_merge(merged, self._file(include, including, mark, key))
        return merged

    def _is_wanted(self, include: TriggerInclude, including: Including, mark: Mark, key: str) -> bool:
        if not include.rules:
            return True
        rules = _value(include.rules, mark, including.report)
        match = including.conditions.first_match(rules, including.known, f"{key}.rules", self.source)
        return match is not None and match[1].get("when") != "never"

    def _file(self, include: TriggerInclude, including: Including, mark: Mark, key: str) -> Map:
        inputs = given_inputs(include.inputs or self.trigger.inputs, mark, including.report)
        if include.artifact:
            data = self.artifact(include.job, include.artifact)
            return including.pipeline(data, f"artifact {include.job}:{include.artifact}", inputs)
        if include.local and "*" not in include.local:
            path = expand(include.local, including.known.expanded).lstrip("/")
            if not is_yaml(path):
                raise fatal(f"{shown_file(path)} does not end in .yml or .yaml", mark, f"{key}.local")
            found = self.source.read(path)
            if found is None:
                what = f"there is no file {shown_file(path)}"
                raise fatal(what, mark, f"{key}.local", nearest(path, self.source.files))
            return including.pipeline(found, path, inputs)
        given = {name: getattr(include, name) for name in NAMES}
        entries: list[tuple[str, Value, Mark]] = [(name, value, mark) for name, value in given.items() if value]
        if inputs:
            entries.append(("inputs", inputs, mark))
        return including.included(Map(mark, entries), mark, key)


def given_inputs(written: Mapping[str, str], mark: Mark, report: Report) -> Map:
    """The inputs of a trigger, from their JSON texts."""
    made = Map(mark)
    for name, text in written.items():
        made[name] = _value(text, mark, report)
        made.marks[name] = mark
    return made


def _value(text: str, mark: Mark, report: Report) -> Value:
    """A value from its JSON text."""
    documents = load(text.encode("utf-8", "surrogateescape"), mark.origin, report)
    return documents[0] if documents else None
