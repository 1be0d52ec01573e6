"""Compiles a job's `environment`, and checks the jobs that stop environments. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from pipeline.job_parts import text
from pipeline.nodes import Map, Value, shown
from pipeline.predefined_variables import environment_slug, environment_tier
from pipeline.problems import Report, nearest
from pipeline.units import seconds_of
from protocol.plan import EnvironmentSpec
from protocol.variables import expand

LONGEST_NAME = 255
"""Maximum length of an environment's name, as in GitLab."""
LONGEST_STAY = 100 * 365 * 86_400.0
"""Maximum `auto_stop_in` in seconds: dates end somewhere."""
NAME = re.compile(r"[A-Za-z0-9_/${}. -]+", re.ASCII)


def environment_of(job: str, config: Map, variables: Mapping[str, str], report: Report) -> EnvironmentSpec | None:
    """A job's environment. Its URL stays unexpanded: most of its variables are known only to the run."""
    value = config.get("environment")
    details = value if isinstance(value, Map) else Map(config.at("environment"))
    written = _name(value)
    name = expand(written, variables)
    mark, key = (details.at("name"), f"{job}.environment.name") if details else (details.mark, f"{job}.environment")
    if written and (not NAME.fullmatch(written) or written.startswith("/") or written.endswith("/")):
        what = f"{shown(written)} is not a name of an environment"
        report.problem(what, mark, key, "use letters, digits, `-`, `_`, `/`, `.`, blanks and variables, no `/` outside")
    if len(name) > LONGEST_NAME:
        report.problem(f"the environment's name has more than {LONGEST_NAME} characters", mark, key)
    if not name:
        return None
    return EnvironmentSpec(
        name=name,
        url=text(details.get("url")),
        action=text(details.get("action")) or "start",
        slug=environment_slug(name),
        tier=expand(text(details.get("deployment_tier")), variables) or environment_tier(name),
        on_stop=text(details.get("on_stop")),
        auto_stop_in=_stay(job, details, variables, report),
    )


def _name(environment: Value) -> str:
    return text(environment.get("name") if isinstance(environment, Map) else environment)


def _stay(job: str, details: Map, variables: Mapping[str, str], report: Report) -> float | None:
    """The seconds of `auto_stop_in`; None for `never`, and for a variable that is empty."""
    written = expand(text(details.get("auto_stop_in")), variables).strip()
    if not written or written.lower() == "never":
        return None
    seconds = seconds_of(written)
    if seconds is None or not 0 < seconds <= LONGEST_STAY:
        what = f"{shown(written)} is not a duration"
        report.problem(what, details.at("auto_stop_in"), f"{job}.environment.auto_stop_in", "write `1 day` or `2h 30m`")
    return seconds


def check_stop_jobs(jobs: Sequence[tuple[str, str, Map]], invalid: Iterable[str], report: Report) -> None:
    """Reports each `on_stop` that names no job that stops this environment.

    `jobs` are all jobs, also those that rules exclude: their names in the file and in the plan, and their keywords.
    Those in `invalid` have problems of their own.
    """
    skipped = set(invalid)
    by_name = {name: config for _, name, config in jobs}
    for base, config in {base: config for base, _, config in jobs}.items():
        environment = config.get("environment")
        named = text(environment.get("on_stop")) if isinstance(environment, Map) else ""
        if not isinstance(environment, Map) or not named or named in skipped:
            continue
        problem = mend = ""
        stop = by_name.get(named)
        its = stop.get("environment") if stop is not None else None
        if stop is None:
            problem, mend = f"there is no job {shown(named)}", nearest(named, by_name)
        elif not its:
            problem, mend = f"job {shown(named)} has no environment", "give it the same one with `action: stop`"
        elif _name(its) != _name(environment):
            problem, mend = f"job {shown(named)} has another environment, {shown(_name(its))}", "give it the same name"
        elif not isinstance(its, Map) or its.get("action") != "stop":
            problem, mend = f"job {shown(named)} does not stop its environment", "give it `action: stop`"
        if problem:
            report.problem(problem, environment.at("on_stop"), f"{base}.environment.on_stop", mend)
