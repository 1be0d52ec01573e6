"""The steps of a job's `run`, as commands of a script. Pure."""

from __future__ import annotations

import re
import shlex

from pipeline.job_parts import text
from pipeline.nodes import Map, Seq, shown
from pipeline.problems import Report
from protocol.variables import VARIABLE_NAME

SCRIPTS = ("before_script", "script", "after_script")
"""Keywords that a job with `run` can't have."""
EXPRESSION = re.compile(r"(?<!\\)\$\{\{")


def check_steps(name: str, job: Map, report: Report) -> None:
    """Reports steps that can't be run, and the scripts of a job that has steps."""
    run = job.get("run")
    if not isinstance(run, Seq):
        return
    for key in SCRIPTS:
        if job.get(key) is not None:
            report.problem("can't be used together with `run`", job.at(key), f"{name}.{key}", "write it as a step")
    for number, step in enumerate(run):
        if not isinstance(step, Map):
            continue
        key = f"{name}.run[{number}]"
        if step.get("step") is None and not text(step.get("script")).strip():
            report.problem("has no script", step.mark, key, "add `script`")
        if EXPRESSION.search(text(step.get("script"))):
            what = "${{ ... }} is evaluated by GitLab's step runner, which jobs here do not have"
            report.problem(what, step.at("script"), f"{key}.script", "use variables of the shell")
        variables = step.get("env")
        for variable in variables if isinstance(variables, Map) else ():
            if not VARIABLE_NAME.fullmatch(variable):
                report.problem(f"{shown(variable)} is not a valid variable name", step.at("env"), f"{key}.env")


def commands(run: Seq) -> list[str]:
    """A command for each step: it runs in a shell of its own, with its own variables added to those of the job."""
    return [_command(step) for step in run if isinstance(step, Map)]


def _command(step: Map) -> str:
    variables = step.get("env")
    exports = [
        f"export {key}={shlex.quote(text(value))}"
        for key, value in (variables.items() if isinstance(variables, Map) else ())
    ]
    name = " ".join(text(step.get("name")).split())
    return "\n".join([f"( # {name}", *exports, text(step.get("script")).strip(), ")"])
