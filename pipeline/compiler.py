"""Compiles a pipeline file into a plan: the steps in order, and the entry point for the rest of Longshore."""

from __future__ import annotations

import re
from collections.abc import Collection, Container, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias, cast

import msgspec

from pipeline import predefined_variables
from pipeline.environments import check_stop_jobs
from pipeline.git_repository import Repository
from pipeline.includes.fetching import Fetching, OtherProjects
from pipeline.includes.records import SourceRecord
from pipeline.includes.resolver import Including
from pipeline.job_compiler import Job, Scope, make_jobs
from pipeline.job_inputs import check_expressions
from pipeline.job_parts import check_delay, text, texts
from pipeline.keywords import FIELDS, NOT_JOBS
from pipeline.keywords.shapes import DEFAULT_KEYS
from pipeline.merge import extend_jobs, flattened, inherit_defaults, merge_defaults, resolve_references
from pipeline.needs import Linker, Links
from pipeline.nodes import Map, Mark, Origin, Seq, Value, kind_of, shown
from pipeline.problems import Report, fatal, nearest
from pipeline.rules import Conditions, Known
from pipeline.runner_variables import warn_of_runner_variables
from pipeline.schema import Check, Fields
from pipeline.steps import check_steps
from pipeline.subject import FileSubject, Subject
from pipeline.trigger import check_artifacts, check_external_needs, check_trigger_job, runs_nothing
from pipeline.variables import fixed, layered, variables_of
from protocol.errors import PipelineFileError, Problem, UsageError
from protocol.job_variables import PIPELINE_NAME, of_run
from protocol.plan import JobPlan, Plan, Variable
from protocol.variables import VariableTooLong, expand, references

OnNewCommit: TypeAlias = Literal["conservative", "interruptible", "none"]
OnJobFailure: TypeAlias = Literal["all", "none"]

DEFAULT_STAGES = ("build", "test", "deploy")
DEFAULT_STAGE = "test"
FIRST_STAGE, LAST_STAGE = ".pre", ".post"
MAX_NAME = 255
"""Maximum length of a job's name in the file, as in GitLab; `parallel` may make it longer."""
LATE = frozenset(of_run(0, 0.0))
"""Variables allowed in a pipeline's name that only the coordinator knows."""
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
"""Characters that would break the lines of logs and tables."""
MAX_JOBS = 20_000
"""Maximum number of jobs in a pipeline."""


@dataclass(slots=True)
class Compilation:
    """A plan with further results: excluded jobs with reasons, declared needs, warnings."""

    plan: Plan
    jobs: list[Job]
    links: dict[str, Links]
    warnings: list[Problem] = field(default_factory=list)
    left_out: str = ""
    """Reason why the pipeline as a whole does not run, if so."""
    sources: list[SourceRecord] = field(default_factory=list)
    """The files that the plan was compiled from, in the order in which they were read."""


def compile_pipeline(
    path: Path,
    *,
    repository: Repository | None = None,
    variables: Mapping[str, str] | None = None,
    jobs: Sequence[str] | None = None,
    projects: Mapping[str, Path] | None = None,
    inputs: Mapping[str, str] | None = None,
    fetching: Fetching | None = None,
) -> Compilation:
    """Compiles a pipeline file.

    `variables` are the user's (`--var`) and override all others; the project's own (see `project_variables`) override
    those of the file. `jobs` keeps only these jobs and their needs. `projects` maps other projects' names to
    directories; those of other projects are fetched as `fetching` says, or not at all. `inputs` are those of the file's
    `spec`. Raises PipelineFileError listing all problems, UsageError for an unknown job.
    """
    given = [Variable(key=key, value=value) for key, value in (variables or {}).items()]
    repository = repository or Repository(path.resolve().parent)
    subject = FileSubject(path, repository, inputs or {})
    with closing(OtherProjects(repository, projects or {}, fetching)) as others:
        return compile_subject(subject, given, jobs, others, str(path))


def compile_subject(
    subject: Subject,
    variables: Sequence[Variable],
    jobs: Sequence[str] | None = None,
    projects: OtherProjects | None = None,
    name: str = "",
) -> Compilation:
    """Compiles what `compile_pipeline` and child pipelines have in common; `name` is for errors of the whole file.

    Without `projects`, other projects are unknown.
    """
    try:
        return _Compiler(subject, variables, projects or OtherProjects(None, {}, None)).compile(jobs)
    except (RecursionError, VariableTooLong) as error:
        what = "is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise PipelineFileError([Problem(what, name or subject.name)]) from None


class _Compiler:
    def __init__(self, subject: Subject, variables: Sequence[Variable], projects: OtherProjects) -> None:
        self._subject = subject
        self._projects = projects
        self._report = Report()
        self._check = Check(self._report, FIELDS)
        self._conditions = Conditions(subject.history, subject.source, projects, self._report)
        self._run_variables = list(variables)
        self._own_variables = 0
        self._invalid: set[str] = set()

    def compile(self, wanted: Sequence[str] | None) -> Compilation:
        own = self._subject.project_variables(self._report)
        self._own_variables = len(own)
        self._run_variables = [*own, *self._run_variables]
        given = {variable.key: variable.value for variable in self._run_variables}
        known = self._subject.predefined(given)
        scope = Scope(fixed(known), [], self._run_variables, self._conditions, self._subject.history, self._report)
        pipeline = self._load(scope.known([]))
        default = merge_defaults(pipeline, self._report)
        self._check_globals(pipeline, default)
        stages = self._stages(pipeline)
        workflow, rule = self._workflow(pipeline, scope)
        scope = self._scope(pipeline, workflow, rule, scope)
        jobs = self._jobs(pipeline, default, stages, scope)
        links = Linker(jobs, stages, self._report, self._invalid).link()
        check_stop_jobs([(job.base, job.name, job.config) for job in jobs], self._invalid, self._report)
        check_artifacts({job.base: job.config for job in jobs}.items(), [job.name for job in jobs], self._report)
        plans = [job.plan for job in jobs if job.plan is not None]
        self._report.raise_if_any()
        left_out = self._left_out(workflow, rule)
        if left_out:
            plans = []
        linked = [msgspec.structs.replace(plan, **_link_fields(links[plan.name])) for plan in plans]
        if wanted:
            linked = _subset(linked, jobs, wanted)
        holders = {job.base: job.config for job in jobs}
        warn_of_runner_variables(
            self._report, [("", pipeline), *holders.items()], self._run_variables, self._own_variables
        )
        plan = self._plan(linked, stages, workflow, rule, scope)
        return Compilation(plan, jobs, links, self._report.warnings, left_out, self._projects.records)

    def _load(self, variables: Known) -> Map:
        """The pipeline with all includes, `extends` and references resolved."""
        including = Including(self._subject.source, variables, self._projects, self._conditions, self._report)
        pipeline = self._subject.pipeline(including)
        if self._report.problems:
            self._check_incomplete(pipeline)
            self._report.raise_if_any()
        pipeline = resolve_references(extend_jobs(pipeline, self._report), self._report)
        if self._report.problems:
            self._check_incomplete(pipeline)
            self._report.raise_if_any()
        return pipeline

    def _check_incomplete(self, pipeline: Map) -> None:
        """Checks the rest of a pipeline in which a file, or a job named by `extends` or `!reference`, is missing."""
        check = Check(self._report, FIELDS, partial=True)
        for name, written, mark in pipeline.entries():
            value = flattened(written)
            if name in FIELDS["global"] and name != "default":
                check.value(value, FIELDS["global"][name].shape, mark, name)
            elif isinstance(value, Map) and name not in NOT_JOBS and not name.startswith("."):
                check.value(value, Fields("job"), mark, name)

    def _check_globals(self, pipeline: Map, default: Map) -> None:
        self._check.value(default, Fields("job", DEFAULT_KEYS), default.mark, "default")
        for key, value, mark in pipeline.entries():
            if key in FIELDS["global"] and key != "default":
                self._check.value(value, FIELDS["global"][key].shape, mark, key)

    def _stages(self, pipeline: Map) -> list[str]:
        value = pipeline.get("stages")
        named = texts(value) if isinstance(value, Seq) and value else DEFAULT_STAGES
        between = [stage for stage in dict.fromkeys(named) if stage not in (FIRST_STAGE, LAST_STAGE)]
        return [FIRST_STAGE, *between, LAST_STAGE]

    def _workflow(self, pipeline: Map, scope: Scope) -> tuple[Map, Map | None]:
        value = pipeline.get("workflow")
        workflow = value if isinstance(value, Map) else Map(pipeline.at("workflow"))
        try:
            known = scope.known(variables_of(pipeline.get("variables")))
        except VariableTooLong as error:
            raise fatal(str(error), pipeline.at("variables"), "variables") from None
        match = self._conditions.first_match(workflow.get("rules"), known, "workflow.rules")
        return workflow, match[1] if match else None

    def _left_out(self, workflow: Map, rule: Map | None) -> str:
        if workflow.get("rules") is None or (rule is not None and rule.get("when") != "never"):
            return ""
        return "`workflow:rules` " + ("exclude the pipeline" if rule is None else "say `when: never`")

    def _scope(self, pipeline: Map, workflow: Map, rule: Map | None, scope: Scope) -> Scope:
        by_rule = variables_of(rule.get("variables")) if rule is not None else []
        variables = layered(variables_of(pipeline.get("variables")), by_rule)
        has_rules = workflow.get("rules") is not None
        written = text(workflow.get("name"))
        late = references(written) & LATE
        named = expand(written, scope.known(variables).expanded, keep=late)[: predefined_variables.MAX_TITLE]
        known = [*scope.predefined, *([Variable(key=PIPELINE_NAME, value=named, raw=not late)] if named else ())]
        return Scope(known, variables, scope.run_variables, scope.conditions, scope.history, scope.report, has_rules)

    def _jobs(self, pipeline: Map, default: Map, stages: Sequence[str], scope: Scope) -> list[Job]:
        jobs: list[Job] = []
        known_stages = frozenset(stages)
        for name, value, mark in pipeline.entries():
            if name in NOT_JOBS or name.startswith("."):
                continue
            if self._report.full:
                break
            config = self._job_config(name, value, mark, default)
            if config is None:
                self._invalid.add(name)
                continue
            stage = text(config.get("stage")) or DEFAULT_STAGE
            if stage not in known_stages:
                self._report.problem(
                    f"unknown stage {shown(stage)}; stages are {', '.join(stages[:20])}",
                    config.at("stage"),
                    f"{name}.stage",
                    nearest(stage, stages) or "add it to `stages`",
                )
                stage = stages[-1]
            made = make_jobs(name, config, stage, mark, scope)
            if not made:
                self._invalid.add(name)
            jobs += made
            if len(jobs) > MAX_JOBS:
                raise PipelineFileError([Problem(f"the pipeline has more than {MAX_JOBS} jobs", self._subject.name)])
        self._check_names(jobs)
        if not jobs and not self._report.problems:
            self._report.warning(
                "the file has no job",
                Mark(Origin(self._subject.name), 0),
                mend="write at least one job with a `script`",
            )
        return jobs

    def _job_config(self, name: str, value: Value, mark: Mark, default: Map) -> Map | None:
        """A job with its inherited keywords; None if invalid."""
        if not isinstance(value, Map):
            what = f"is neither a keyword nor a job: a job is a mapping, not {kind_of(value)}"
            self._report.problem(what, mark, name, nearest(name, FIELDS["global"]))
            return None
        if not 1 <= len(name) <= MAX_NAME or CONTROL.search(name):
            self._report.problem(
                f"a job's name must have 1 to {MAX_NAME} characters and no control characters", mark, shown(name)
            )
            return None
        before = len(self._report.problems)
        self._check.value(value, Fields("job"), mark, name)
        check_trigger_job(name, value, self._report)
        check_delay(name, value, self._report)
        check_steps(name, value, self._report)
        config = inherit_defaults(value, default)
        check_external_needs(name, value, self._report)
        if len(self._report.problems) == before:
            check_expressions(name, config, self._report)
        if not runs_nothing(config) and config.get("run") is None and config.get("script") in (None, []):
            self._report.problem(
                "has no script",
                config.marks.get("script", mark),
                name,
                nearest(name, FIELDS["global"]) or "add `script`",
            )
        elif config.get("script") == "":
            self._report.problem("has an empty script", config.at("script"), name)
        if config.get("rules") is not None:
            for key in ("only", "except"):
                if config.get(key) is not None:
                    self._report.problem("can't be used together with `rules`", config.at(key), f"{name}.{key}")
        return config if len(self._report.problems) == before else None

    def _check_names(self, jobs: Iterable[Job]) -> None:
        seen: set[str] = set()
        for job in jobs:
            if job.name in seen:
                self._report.problem(f"two jobs are named {shown(job.name)}", job.mark, job.base)
            seen.add(job.name)

    def _plan(self, jobs: list[JobPlan], stages: Sequence[str], workflow: Map, rule: Map | None, scope: Scope) -> Plan:
        used = {job.stage for job in jobs}
        known = scope.known(scope.variables).expanded
        title = known["CI_COMMIT_TITLE"][: predefined_variables.MAX_TITLE]
        pipeline_name = next((each.value for each in scope.predefined if each.key == PIPELINE_NAME), "")
        return Plan(
            name=pipeline_name or title or known["CI_PROJECT_TITLE"],
            project=known["CI_PROJECT_PATH"],
            project_dir=known["CI_PROJECT_DIR"],
            stages=[stage for stage in stages if stage in used],
            jobs=jobs,
            predefined=scope.predefined,
            run_variables=scope.run_variables,
            project_variables=self._own_variables,
            auto_cancel_on_new_commit=cast(OnNewCommit, _auto_cancel(workflow, rule, "on_new_commit", "conservative")),
            auto_cancel_on_job_failure=cast(OnJobFailure, _auto_cancel(workflow, rule, "on_job_failure", "none")),
        )


def _auto_cancel(workflow: Map, rule: Map | None, key: str, default: str) -> str:
    """The value of `auto_cancel:KEY` from the workflow's rule, or else from the workflow itself."""
    for holder in (rule, workflow):
        value = holder.get("auto_cancel") if holder is not None else None
        if isinstance(value, Map) and value.get(key) is not None:
            return text(value[key])
    return default


def _link_fields(links: Links) -> dict[str, object]:
    return {"needs": links.needs, "dependencies": links.dependencies}


def named_jobs(name: str, jobs: Sequence[Job], planned: Container[str]) -> list[str]:
    """The planned jobs that a user means by the name of a job or of a matrix. Raises UsageError if there is none."""
    found = [job for job in jobs if name in (job.name, job.base)]
    if not found:
        hint = nearest(name, [job.base for job in jobs])
        raise UsageError(f"the pipeline has no job {name!r}" + (f"; {hint}" if hint else ""))
    names = [job.name for job in found if job.name in planned]
    if not names:
        raise UsageError(f"job {name!r} is not in this pipeline: {found[0].excluded or 'its workflow is left out'}")
    return names


def _subset(plans: list[JobPlan], jobs: Sequence[Job], wanted: Sequence[str]) -> list[JobPlan]:
    """The wanted jobs and all their needs, and manual jobs that stop what these deploy. A manual job does not block."""
    by_name = {plan.name: plan for plan in plans}
    asked = dict.fromkeys(planned_name for name in wanted for planned_name in named_jobs(name, jobs, by_name))
    kept: dict[str, None] = {}
    todo = list(asked)
    while todo:
        name = todo.pop()
        if name in kept:
            continue
        kept[name] = None
        plan = by_name[name]
        todo += [need.job for need in plan.needs or ()]
        todo += [other for other in plan.dependencies or () if other in by_name]
        todo += [file.job for file in (plan.trigger.include if plan.trigger else ()) if file.job in by_name]
    stops = _stop_jobs(kept, by_name)
    return [
        msgspec.structs.replace(plan, when="on_success")
        if plan.name in asked and plan.when == "manual"
        else msgspec.structs.replace(plan, allow_failure=True)
        if plan.name in stops
        else plan
        for plan in plans
        if plan.name in kept or plan.name in stops
    ]


def _stop_jobs(kept: Collection[str], by_name: Mapping[str, JobPlan]) -> set[str]:
    """The manual jobs that stop environments of kept jobs, unless they are kept or need others."""
    environments = [by_name[name].environment for name in kept]
    named = {environment.on_stop for environment in environments if environment} & by_name.keys() - kept
    return {
        name
        for name in named
        if by_name[name].when == "manual" and all(need.job in kept for need in by_name[name].needs or ())
    }
