"""Compiles one job into the plan: its instances, and the effect of its rules on each. Knows no other job."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, cast

from pipeline import predefined_variables
from pipeline.environments import environment_of
from pipeline.external_needs import external_needs, is_external
from pipeline.job_inputs import declared_inputs
from pipeline.job_parts import Parts, exit_codes, text, texts
from pipeline.matrix import Instance, instances, uses_expressions, with_expressions
from pipeline.nodes import Map, Mark, Scalar, Seq, Value
from pipeline.predefined_variables import JOB_ONLY
from pipeline.problems import Report, fatal
from pipeline.publishing import pages_of, release_of, with_pages
from pipeline.rules import Conditions, History, Known
from pipeline.steps import commands
from pipeline.trigger import Trigger, mirrored
from pipeline.variables import fixed, inherited_variables, layered, variables_of
from protocol.errors import PipelineFileError
from protocol.plan import EnvironmentSpec, JobPlan, Variable, When
from protocol.variables import VariableTooLong, expand, expand_all

MAX_EXPANDED = 256 << 20
"""Maximum total size in bytes of all jobs' expanded variables, which bounds memory and time."""
VALUE_OVERHEAD = 100
"""Overhead of a value in bytes, besides its characters."""


@dataclass(slots=True)
class Scope:
    """State shared by all jobs of a pipeline. `expanded` counts the bytes of their expanded variables."""

    predefined: list[Variable]
    variables: list[Variable]
    run_variables: list[Variable]
    conditions: Conditions
    history: History
    report: Report
    has_workflow_rules: bool = False
    expanded: int = 0
    fixed: dict[str, str] | None = None
    """The raw ones of `predefined`. Computed on first use, as are `early` (seen by rules) and `below` (the rest)."""
    early: dict[str, str] = field(default_factory=dict)
    below: list[Variable] = field(default_factory=list)

    def known(self, variables: list[Variable]) -> Known:
        """All variables of a job that are known before the run."""
        if self.fixed is None:
            self.fixed = {variable.key: variable.value for variable in self.predefined if variable.raw}
            self.early = {key: value for key, value in self.fixed.items() if key not in JOB_ONLY}
            self.below = [variable for variable in self.predefined if not variable.raw]
        above = [*self.below, *variables, *self.run_variables]
        values = expand_all(above, self.fixed)
        self.expanded += sum(map(len, values.values())) + VALUE_OVERHEAD * len(values)
        if self.expanded > MAX_EXPANDED:
            raise VariableTooLong(f"the variables of all jobs together grow past {MAX_EXPANDED >> 20} MB")
        return Known(self.early | {variable.key: variable.value for variable in above}, values)


@dataclass(frozen=True, slots=True)
class DeclaredNeed:
    """An entry of `needs` as written; `selector` is its `parallel:matrix`."""

    job: str
    artifacts: bool
    optional: bool
    selector: Seq | None
    mark: Mark
    key: str


@dataclass(slots=True)
class Job:
    """An instance of a job. `config` includes inherited keywords; `needs` are as declared."""

    base: str
    instance: Instance
    config: Map
    stage: str
    mark: Mark
    when: When = "on_success"
    allow_failure: Value = False
    needs: list[DeclaredNeed] | None = None
    external: list[tuple[Map, Mark, str]] = field(default_factory=list)
    """The entries of `needs` for jobs of other pipelines, each with its place and key."""
    excluded: str = ""
    """Why the job is excluded; empty if it is not."""
    plan: JobPlan | None = None
    """Set if the job is in the pipeline."""

    @property
    def name(self) -> str:
        return self.instance.name

    @property
    def dependencies(self) -> list[str] | None:
        """The names under `dependencies`, as written."""
        value = self.config.get("dependencies")
        return texts(value) if isinstance(value, Seq) else None


def make_jobs(base: str, config: Map, stage: str, mark: Mark, scope: Scope) -> list[Job]:
    """The instances of one job, with their rules evaluated. Problems go into the report."""
    try:
        made = [Job(base, instance, config, stage, mark) for instance in instances(base, config)]
        for job in made:
            _decide(job, scope)
    except PipelineFileError as error:
        scope.report.add(error)
        return []
    except VariableTooLong as error:
        scope.report.problem(str(error), config.at("variables"), f"{base}.variables")
        return []
    return made


def _decide(job: Job, scope: Scope) -> None:
    instance, config = job.instance, job.config
    written = layered(
        inherited_variables(config, scope.variables),
        variables_of(config.get("variables")),
        [Variable(key=key, value=value) for key, value in (instance.matrix or {}).items()],
    )
    described = _described(job, written, scope)
    job.when = cast(When, config.get("when") or "on_success")
    allowed = config.get("allow_failure")
    job.allow_failure = allowed if allowed is not None else job.when == "manual"
    needs: Value = config.get("needs")
    mark = config.at("needs")
    rule: Map | None = None
    if config.get("rules") is not None:
        rule = _apply_rules(job, described.known, scope)
        if rule is not None and rule.get("variables"):
            described = _described(job, layered(written, variables_of(rule["variables"])), scope)
        if rule is not None and rule.get("needs") is not None:
            needs, mark = rule["needs"], rule.at("needs")
    elif not scope.conditions.allowed_by_policies(
        config, described.known, job.base, has_workflow_rules=scope.has_workflow_rules
    ):
        job.excluded = "its `only` or `except` excludes it"
    if isinstance(needs, Map) and needs.get("job") is not None:
        needs = Seq(mark, [(needs, mark)])
    job.needs = _declared_needs(job, needs, mark)
    if not job.excluded:
        job.plan = _plan(job, described, rule, scope)


class _Described(NamedTuple):
    """A job's own variables, with those of its environment below them, and the result of all its variables.

    `yaml` are the keys of those that the pipeline file defines.
    """

    variables: list[Variable]
    yaml: list[str]
    known: Known
    environment: EnvironmentSpec | None


def _described(job: Job, written: list[Variable], scope: Scope) -> _Described:
    """Describes a job by its variables as the pipeline file has them."""
    of_job = predefined_variables.of_job(job.name, job.stage, job.instance.index, job.instance.total)
    yaml = [variable.key for variable in written]
    own = layered(fixed(of_job), written)
    known = scope.known(own)
    environment = environment_of(job.base, job.config, known.expanded, scope.report)
    if environment is None:
        return _Described(own, yaml, known, None)
    given = fixed(predefined_variables.of_environment(environment, known.expanded["CI_PROJECT_PATH"]))
    if environment.url:  # the worker expands it: only the worker knows all variables it may name
        given.append(Variable(key="CI_ENVIRONMENT_URL", value=environment.url))
    own = layered(given, own)
    return _Described(own, yaml, scope.known(own), environment)


def _apply_rules(job: Job, known: Known, scope: Scope) -> Map | None:
    match = scope.conditions.first_match(job.config["rules"], known, f"{job.base}.rules")
    if match is None:
        job.excluded = "none of its rules matches"
        return None
    number, rule = match
    if rule.get("when") is not None:
        when = str(rule["when"])
        if when == "never":
            job.excluded = f"rule {number + 1} says `when: never`"
        else:
            job.when = cast(When, when)
    if rule.get("allow_failure") is not None:
        job.allow_failure = rule["allow_failure"]
    return rule


def _declared_needs(job: Job, needs: Value, mark: Mark) -> list[DeclaredNeed] | None:
    if not isinstance(needs, Seq):
        return None
    found: list[DeclaredNeed] = []
    for number, (need, where) in enumerate(needs.entries()):
        key = f"{job.base}.needs[{number}]"
        if isinstance(need, str):
            found.append(DeclaredNeed(need, True, False, None, where, key))
        elif isinstance(need, Map) and is_external(need):
            job.external.append((need, where, key))
        elif isinstance(need, Map):
            found.append(_declared_need(job, need, where, key))
    return found


def _declared_need(job: Job, need: Map, mark: Mark, key: str) -> DeclaredNeed:
    name = need.get("job")
    if not isinstance(name, str):
        raise fatal("names no job", mark, key, "add `job:`")
    parallel = need.get("parallel")
    selector = parallel.get("matrix") if isinstance(parallel, Map) else None
    if isinstance(selector, Seq) and uses_expressions(selector):
        place = need.at("parallel")
        if job.instance.matrix is None:
            raise fatal(
                "$[[ matrix.NAME ]] is for jobs that have a `parallel:matrix` themselves", place, f"{key}.parallel"
            )
        selector = with_expressions(selector, job.instance.matrix, place, f"{key}.parallel.matrix")
    return DeclaredNeed(
        job=name,
        artifacts=need.get("artifacts") is not False,
        optional=need.get("optional") is True,
        selector=selector if isinstance(selector, Seq) else None,
        mark=mark,
        key=key,
    )


def _plan(job: Job, described: _Described, rule: Map | None, scope: Scope) -> JobPlan:
    """The job's plan; needs and dependencies are filled in once all jobs are known."""
    variables, environment, known = described.variables, described.environment, described.known.expanded
    parts = Parts(job.base, job.config, known, scope.report)
    if job.when == "manual":
        variables = layered(fixed({"CI_JOB_MANUAL": "true"}), variables)
    pages = pages_of(job.base, job.name, job.config, known, scope.report)
    if pages is not None and pages.path_prefix:
        url = f"{known['CI_PAGES_URL'].rstrip('/')}/{pages.path_prefix}"
        variables = layered(fixed({"CI_PAGES_URL": url}), variables)
    interruptible: Value = job.config.get("interruptible")
    if rule is not None and rule.get("interruptible") is not None:
        interruptible = rule["interruptible"]
    run = job.config.get("run")
    steps = commands(run) if isinstance(run, Seq) else None
    return JobPlan(
        name=job.name,
        stage=job.stage,
        script=parts.commands("script") if steps is None else steps,
        pre_get_sources_script=parts.hook("pre_get_sources_script"),
        before_script=parts.commands("before_script") if steps is None else [],
        after_script=parts.commands("after_script") if steps is None else [],
        image=parts.image(),
        services=parts.services(),
        variables=variables,
        inputs=declared_inputs(job.base, job.config, scope.report),
        when=job.when,
        start_in=parts.start_in(rule) if job.when == "delayed" else 0.0,
        allow_failure=job.allow_failure is True,
        allow_failure_exit_codes=exit_codes(job.allow_failure),
        tags=_tags(job.config.get("tags"), known),
        timeout=parts.timeout(),
        artifacts=with_pages(parts.artifacts(), pages),
        caches=parts.caches(scope.history.last_change),
        retry=parts.retry(),
        resource_group=expand(text(job.config.get("resource_group")), known) or None,
        interruptible=interruptible is True,
        coverage=parts.coverage(),
        environment=environment,
        release=release_of(job.base, job.config, scope.report),
        pages=pages,
        resources=parts.resources(),
        manual_confirmation=text(job.config.get("manual_confirmation")) or None,
        trigger=Trigger(job.base, job.config, known, scope.report).plan(described.yaml),
        external_needs=external_needs(job.external, known, scope.report),
        mirrors=_mirrored(job.config, known),
    )


def _mirrored(config: Map, known: Mapping[str, str]) -> str:
    """The project whose status the job takes, expanded; as written if nothing is left of it, for messages."""
    written = mirrored(config) or ""
    return expand(written, known) or written


def _tags(value: Value, known: Mapping[str, str]) -> list[str]:
    """The expanded tags without duplicates: comma-separated, trimmed, empty ones dropped."""
    written = ",".join(expand(tag, known) for tag in texts(value))
    return list(dict.fromkeys(tag for part in written.split(",") if (tag := part.strip())))


def declared_allow_failure(job: Job) -> bool | dict[str, Scalar | list[Scalar]]:
    """`allow_failure` as written, for output: true, false or the exit codes."""
    if not isinstance(job.allow_failure, Map):
        return job.allow_failure is True
    codes = job.allow_failure.get("exit_codes")
    return {"exit_codes": cast("list[Scalar]", list(codes)) if isinstance(codes, Seq) else cast(Scalar, codes)}
