"""Compiles a job's `trigger` into the pipeline that it starts: a child, or one of another project."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, cast

from pipeline.child import MOST_FILES
from pipeline.external_needs import is_external
from pipeline.includes.entries import entries_of, only_kind
from pipeline.job_parts import text, texts
from pipeline.keywords.shapes import TRIGGER_KEYS
from pipeline.nodes import Map, Mark, Seq, Value
from pipeline.problems import Report, nearest
from protocol.errors import PipelineFileError
from protocol.plan import TriggerInclude, TriggerPlan
from protocol.variables import expand

Strategy = Literal["none", "depend", "mirror"]

KINDS = ("local", "project", "template", "remote", "component", "artifact")


def mirrored(config: Map) -> str | None:
    """The project whose latest pipeline's status a job takes (`needs:pipeline` without `job`), as written."""
    needs = config.get("needs")
    if not isinstance(needs, Map) or needs.get("job") is not None or needs.get("pipeline") is None:
        return None
    return text(needs["pipeline"])


def runs_nothing(config: Map) -> bool:
    """Whether a job has no script because it starts another pipeline, or takes the status of one."""
    return config.get("trigger") is not None or mirrored(config) is not None


def check_trigger_job(name: str, job: Map, report: Report) -> None:
    """Reports the keywords of a job, without those of `default`, that a job which runs nothing itself can't have."""
    if not runs_nothing(job):
        return
    if job.get("trigger") is not None:
        kind = "a job with `trigger`, which starts a pipeline and runs nothing itself"
    else:
        kind = "a job with `needs:pipeline`, which takes the status of that project's pipeline and runs nothing itself"
    for key, value, mark in job.entries():
        if value is not None and key not in TRIGGER_KEYS:
            report.problem(f"can't be used in {kind}", mark, f"{name}.{key}", "move it to a job of its own")
    if isinstance(job.get("parallel"), int):
        what = f"{kind.partition(',')[0]} can't be repeated"
        report.problem(what, job.at("parallel"), f"{name}.parallel", "write `parallel:matrix`")


def check_external_needs(name: str, job: Map, report: Report) -> None:
    """Reports artifacts of other pipelines that are for a job with `trigger`, which runs nothing."""
    needs = job.get("needs")
    if job.get("trigger") is None or not isinstance(needs, Seq):
        return
    for number, (need, mark) in enumerate(needs.entries()):
        if isinstance(need, Map) and is_external(need):
            what = "a job with `trigger` can't get artifacts of other pipelines"
            report.problem(what, mark, f"{name}.needs[{number}]", "get them in a job of the pipeline that it starts")


def check_artifacts(jobs: Iterable[tuple[str, Map]], names: Iterable[str], report: Report) -> None:
    """Reports `trigger:include:artifact` of jobs that the pipeline lacks; `jobs` are bases with their keywords."""
    known = dict.fromkeys(names)
    for base, config in jobs:
        for number, entry in enumerate(_entries(config.get("trigger"))):
            job = entry.get("job")
            if entry.get("artifact") is not None and isinstance(job, str) and "$" not in job and job not in known:
                key = f"{base}.trigger.include[{number}].job"
                report.problem(f"the pipeline has no job {job!r}", entry.at("job"), key, nearest(job, known))


class Trigger:
    """Compiles one job's `trigger`; `variables` are the job's variables known to the compiler."""

    def __init__(self, name: str, job: Map, variables: Mapping[str, str], report: Report) -> None:
        self._name = name
        self._trigger = job.get("trigger")
        self._mark = job.at("trigger")
        self._variables = variables
        self._report = report

    def plan(self, yaml_variables: Iterable[str]) -> TriggerPlan | None:
        """The pipeline, if the job starts one; `yaml_variables` are the keys of the job's own variables."""
        trigger = self._trigger
        if trigger is None:
            return None
        if not isinstance(trigger, Map):
            trigger = Map(self._mark, [("project", trigger, self._mark)])
        include, project = trigger.get("include"), trigger.get("project")
        if (include is None) == (project is None):
            said = "names both a project and files" if include is not None else "names neither files nor a project"
            self._problem(said, self._mark, "trigger", "give `include` or `project`")
            return None
        if trigger.get("branch") is not None and project is None:
            self._problem("belongs to `project`", trigger.at("branch"), "trigger.branch")
        forward = trigger.get("forward")
        details = forward if isinstance(forward, Map) else Map(self._mark)
        return TriggerPlan(
            include=self._includes(trigger) if include is not None else [],
            project=self._other(project),
            branch=self._other(trigger.get("branch")),
            strategy=cast(Strategy, text(trigger.get("strategy")) or "none"),
            yaml_variables=[] if details.get("yaml_variables") is False else list(dict.fromkeys(yaml_variables)),
            pipeline_variables=details.get("pipeline_variables") is True,
            inputs=_inputs(trigger.get("inputs")),
        )

    def _other(self, value: Value) -> str:
        """A name, expanded; as written if nothing is left of it, for the message that says what is not found."""
        return self._expanded(value).strip("/") or text(value)

    def _problem(self, message: str, mark: Mark, key: str, mend: str = "") -> None:
        self._report.problem(message, mark, f"{self._name}.{key}", mend)

    def _includes(self, trigger: Map) -> list[TriggerInclude]:
        entries = list(_entries(trigger, self._expanded))
        found = [
            made for number, entry in enumerate(entries) for made in self._include(entry, f"trigger.include[{number}]")
        ]
        if not entries:
            self._problem("names no file", trigger.at("include"), "trigger.include")
        if max(len(entries), len(found)) > MOST_FILES:
            self._problem(f"names more than {MOST_FILES} files", trigger.at("include"), "trigger.include")
        return found

    def _include(self, entry: Map, key: str) -> list[TriggerInclude]:
        try:
            kind = only_kind(entry, KINDS, KINDS, entry.mark, f"{self._name}.{key}")
        except PipelineFileError as error:
            self._report.add(error)
            return []
        rules = entry.get("rules")
        common: dict[str, Any] = {
            "inputs": _inputs(entry.get("inputs")),
            "rules": "" if rules is None else json.dumps(rules),
        }
        job = entry.get("job")
        if (kind == "artifact") != (job is not None):
            said = "says not which job leaves it" if kind == "artifact" else "belongs to `artifact`"
            self._problem(said, entry.at("job"), f"{key}.{'job' if job is not None else kind}", "add `job:`")
            return []
        path = self._expanded(entry[kind])
        if kind == "artifact":
            return [TriggerInclude(artifact=path, job=self._expanded(job), **common)]
        if kind != "project":
            return [TriggerInclude(**(common | {kind: path}))]
        files = texts(entry.get("file"))
        if not files:
            self._problem("names a project and no file", entry.at("project"), key, "add `file:`")
        ref = self._expanded(entry.get("ref"))
        return [TriggerInclude(project=path, file=self._expanded(file), ref=ref, **common) for file in files]

    def _expanded(self, value: Value) -> str:
        return expand(text(value), self._variables)


def _entries(trigger: Value, expanded: Callable[[str], str] = str) -> Iterable[Map]:
    """The files under `trigger:include`, each as a mapping."""
    if not isinstance(trigger, Map):
        return
    for entry, _ in entries_of(trigger.get("include"), trigger.at("include"), expanded):
        yield entry


def _inputs(value: Value) -> dict[str, str]:
    """Inputs as JSON texts, by name."""
    return {name: json.dumps(item) for name, item in value.items()} if isinstance(value, Map) else {}
