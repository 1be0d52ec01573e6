"""A job's definition, history and test report as text. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from textual.content import Content

from protocol.display import clean
from protocol.job_inputs import allowed, written
from protocol.plan import ArtifactsSpec, ImageSpec, InputValue, JobPlan, Variable
from protocol.views import EnvironmentView, JobView, StoryLine
from tui.presentation.formatting import clock, duration, plural

MASK = "[MASKED]"
NO_INPUTS: Mapping[str, InputValue] = {}


def definition(
    job: JobPlan, inputs: Mapping[str, InputValue] = NO_INPUTS, environment: EnvironmentView | None = None
) -> Content:
    """The job's compiled definition in the pipeline file's vocabulary; masked values stay masked.

    `inputs` are the values of its inputs in the next attempt. `environment` is its environment as it is now.
    """
    lines: list[tuple[str, str]] = []

    def entry(key: str, value: object) -> None:
        lines.extend(((f"{key}: ", "bold $text-accent"), (f"{clean(str(value))}\n", "")))

    def block(key: str, values: Iterable[str]) -> None:
        lines.append((f"{key}:\n", "bold $text-accent"))
        for value in values:
            for number, line in enumerate(value.split("\n")):
                lines.append((f"  {'- ' if number == 0 else '  '}{clean(line)}\n", ""))

    entry("stage", job.stage)
    entry("image", _image(job.image))
    if job.when != "on_success":
        entry("when", job.when)
    if job.needs is not None:
        entry("needs", _list(need.job + (" (optional)" if need.optional else "") for need in job.needs))
    if job.tags:
        entry("tags", _list(job.tags))
    if job.allow_failure or job.allow_failure_exit_codes:
        entry(
            "allow_failure", _list(map(str, job.allow_failure_exit_codes)) if job.allow_failure_exit_codes else "true"
        )
    if job.retry.max:
        entry("retry", f"{job.retry.max}, when {_list(job.retry.when) or 'always'}")
    if job.resource_group:
        entry("resource_group", job.resource_group)
    if job.environment is not None:
        state = f"({environment.status}, run {environment.deployment.run})" if environment else ""
        entry("environment", " ".join(filter(None, [job.environment.name, job.environment.url, state])))
    if job.inputs:
        values = ((name, inputs.get(name, spec.default), allowed(spec)) for name, spec in job.inputs.items())
        block("inputs", (f"{name}: {written(value)} ({may_be})" for name, value, may_be in values))
    entry("timeout", duration(job.timeout))
    for service in job.services:
        entry("service", f"{service.name} as {_list(service.aliases) or service.name}")
    for key, script in (
        ("hooks:pre_get_sources_script", job.pre_get_sources_script),
        ("before_script", job.before_script),
        ("script", job.script),
        ("after_script", job.after_script),
    ):
        if script:
            block(key, script)
    if job.artifacts is not None:
        block("artifacts", _artifacts(job.artifacts))
    for cache in job.caches:
        block(f"cache {cache.key}", cache.paths)
    if job.variables:
        block("variables", (f"{variable.key}: {_value(variable)}" for variable in job.variables))
    return Content.assemble(*lines)


def story(lines: Sequence[StoryLine]) -> Content:
    """The job's history, line by line."""
    if not lines:
        return Content("No events yet.")
    parts: list[tuple[str, str]] = []
    for line in lines:
        attempt = f"{line.attempt}  " if line.attempt else ""
        parts += [(f"{clock(line.at)}  ", "$foreground 60%"), (attempt, "$text-accent"), (f"{clean(line.text)}\n", "")]
    return Content.assemble(*parts)


def tests(job: JobView) -> Content:
    """The job's test report: failures first."""
    report = job.tests
    if report is None:
        return Content("No test report. A job provides one with artifacts: reports: junit.")
    bad = report.failed + report.errors
    summary = f"{plural(report.total, 'test')}: {bad} failed, {report.skipped} skipped, in {duration(report.seconds)}\n"
    parts = [(summary, "bold $text-error" if bad else "bold $text-success")]
    parts += [(f"✗ {clean(failure)}\n", "$text-error") for failure in report.failures]
    if bad > len(report.failures):
        parts.append((f"and {bad - len(report.failures)} more\n", "$foreground 60%"))
    return Content.assemble(*parts)


def _artifacts(spec: ArtifactsSpec) -> Iterable[str]:
    yield from spec.paths
    if spec.expose_as:
        yield f"expose_as: {spec.expose_as}"
    for kind, patterns in spec.reports.items():
        yield from (f"{kind}: {pattern}" for pattern in patterns)


def _image(image: ImageSpec | None) -> str:
    if image is None:
        return "(the coordinator's default)"
    user = f" as {image.user}" if image.user else ""
    return f"{image.name}{user}"


def _list(values: Iterable[str]) -> str:
    return ", ".join(values)


def _value(variable: Variable) -> str:
    return MASK if variable.masked else variable.value
