"""Which jobs changed files touch, by the `changes` of their rules. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from pipeline.compiler import Compilation
from pipeline.nodes import Map, Seq, Value
from pipeline.patterns import bare_pattern, glob_pattern
from protocol.regular_expressions import BadPattern
from protocol.variables import expand


def touched_jobs(compilation: Compilation, changed: Collection[str]) -> set[str]:
    """The planned jobs that the changed files, relative to the project, touch: those with a pattern of `rules:changes`,
    `only:changes` or `except:changes` that matches one, and those that have no such pattern.
    """
    return {
        job.name
        for job in compilation.jobs
        if job.plan is not None and _is_touched(job.config, _values(compilation, job.name), changed)
    }


def _values(compilation: Compilation, name: str) -> dict[str, str]:
    job = next((job for job in compilation.plan.jobs if job.name == name), None)
    given = [*compilation.plan.predefined, *(job.variables if job is not None else ()), *compilation.plan.run_variables]
    return {variable.key: variable.value for variable in given}


def _is_touched(config: Map, values: Mapping[str, str], changed: Collection[str]) -> bool:
    written = list(_changes(config))
    if not written:
        return True
    try:
        return any(_matches(value, values, changed) for value in written)
    except BadPattern:
        return True


def _changes(config: Map) -> list[Value]:
    rules = config.get("rules")
    holders = [*(rules if isinstance(rules, Seq) else ()), config.get("only"), config.get("except")]
    return [value for holder in holders if isinstance(holder, Map) and (value := holder.get("changes")) is not None]


def _matches(value: Value, values: Mapping[str, str], changed: Collection[str]) -> bool:
    paths = value.get("paths") if isinstance(value, Map) else value
    regexp = value.get("regexp") if isinstance(value, Map) else None
    if isinstance(regexp, str) and any(bare_pattern(regexp).found_in(path) for path in changed):
        return True
    globs = [glob for glob in (paths if isinstance(paths, Seq) else [paths]) if isinstance(glob, str)]
    patterns = [glob_pattern(expand(glob, values)) for glob in globs]
    return any(pattern.matches(path) for pattern in patterns for path in changed)
