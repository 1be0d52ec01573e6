"""What the check of a pipeline file found: the document of `validate --json`, and why nothing would run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cli.render.phrases import counted
from cli.render.plan_text import other_pipelines
from pipeline import Compilation
from pipeline.git_repository import readable
from protocol.errors import Problem

MOST_REASONS = 20
"""Maximum number of jobs listed with the reason why they are excluded."""


def validation_json(
    file: Path, root: Path, problems: Sequence[Problem], compilation: Compilation | None = None
) -> dict[str, Any]:
    """The document: the problems of an invalid file, or the `compilation` of a valid one with its warnings. Problems
    name files relative to the project's `root`.

    The contract is docs/schemas/validate.json: fields may be added, never changed.
    """
    found = [_problem_json("error", problem) for problem in problems]
    document: dict[str, Any] = {
        "file": readable(str(file)),
        "root": readable(str(root)),
        "valid": compilation is not None,
        "problems": found,
    }
    if compilation is None:
        return document | {"jobs": None, "nothing_to_run": None, "excluded": None}
    found += [_problem_json("warning", warning) for warning in compilation.warnings]
    excluded = [{"job": job.name, "reason": job.excluded} for job in compilation.jobs if job.excluded]
    jobs = [job.name for job in compilation.plan.jobs]
    return document | {"jobs": jobs, "nothing_to_run": compilation.left_out or None, "excluded": excluded}


def nothing_to_run(compilation: Compilation, pipeline: str) -> str:
    """Why a plan has no job: one line, and one for each job that is excluded. `pipeline` says what kind it is."""
    if compilation.left_out:
        return f"nothing to run in {pipeline}: {compilation.left_out}{other_pipelines(compilation)}"
    excluded = [job for job in compilation.jobs if job.excluded]
    if not excluded:
        return "nothing to run: the file has no job; write at least one job with a `script`"
    lines = [f"nothing to run in {pipeline}: its rules exclude all jobs{other_pipelines(compilation)}"]
    lines += [f"  {job.name}: {job.excluded}" for job in excluded[:MOST_REASONS]]
    if len(excluded) > MOST_REASONS:
        lines.append(f"  and {counted(len(excluded) - MOST_REASONS, 'job')} more; `longshore plan` lists all")
    return "\n".join(lines)


def _problem_json(severity: str, problem: Problem) -> dict[str, Any]:
    return {
        "severity": severity,
        "message": problem.message,
        "mend": problem.mend or None,
        "key": problem.key or None,
        "file": problem.file or None,
        "range": _range_json(problem),
        "included_from": list(problem.included_from),
    }


def _range_json(problem: Problem) -> dict[str, Any] | None:
    if not problem.line:
        return None
    if not problem.column:
        start, end = (problem.line, 1), (problem.line + 1, 1)
    else:
        start, end = (problem.line, problem.column), (problem.end_line, problem.end_column)
    return {"start": _place_json(*start), "end": _place_json(*end)}


def _place_json(line: int, column: int) -> dict[str, int]:
    return {"line": line, "column": column}
