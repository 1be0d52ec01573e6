"""Entries of `needs` for jobs of other pipelines: `needs:project` and `needs:pipeline:job`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pipeline.job_parts import text
from pipeline.nodes import Map, Mark
from pipeline.problems import Report
from protocol.plan import ExternalNeed
from protocol.variables import expand

MOST = 5
"""Maximum number of such entries of a job, as in GitLab."""


def is_external(need: Map) -> bool:
    """Whether an entry of `needs` names a job of another pipeline."""
    return need.get("pipeline") is not None or need.get("project") is not None


def external_needs(
    entries: Iterable[tuple[Map, Mark, str]], known: Mapping[str, str], report: Report
) -> list[ExternalNeed]:
    """The jobs of other pipelines whose artifacts a job gets; `entries` have their places and keys.

    Problems go into the report.
    """
    found: dict[ExternalNeed, None] = {}
    for number, (need, mark, key) in enumerate(entries):
        if number == MOST:
            report.problem(f"names more than {MOST} jobs of other pipelines", mark, key)
            break
        wanted = ("job", "ref") if need.get("project") is not None else ("job",)
        missing = [name for name in wanted if need.get(name) is None]
        if missing:
            report.problem(f"names no {missing[0]}", mark, key, f"add `{missing[0]}:`")
        elif need.get("project") is not None and need.get("pipeline") is not None:
            report.problem("names both a project and a pipeline", mark, key, "give one of them")
        elif need.get("artifacts") is not False:
            # What is empty when expanded stays as written, for the message that says what is not found.
            values = {name: text(need.get(name)) for name in ("job", "project", "ref", "pipeline")}
            found[ExternalNeed(**{name: expand(value, known) or value for name, value in values.items()})] = None
    return list(found)
