"""The verbs `plan` and `validate`: print or check a pipeline file's plan. Starts nothing."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.options.common import output_option
from cli.options.fetching import FetchOptions, fetch_options
from cli.options.serving import ServingCommand
from cli.render.warnings import print_warning
from cli.submit.variables import file_argument, file_options, variable_option
from protocol.display import clean, clean_lines
from protocol.errors import PipelineFileError, Problem
from protocol.plan import Variable

if TYPE_CHECKING:
    from cli.render.output import Output
    from pipeline import Compilation


@click.command("plan", cls=ServingCommand, settings_of="run", in_project=True)
@file_argument
@variable_option
@click.option("--job", "jobs", metavar="NAME", multiple=True, help="Select this job and the jobs it needs. Repeatable.")
@file_options
@click.option("--sources", is_flag=True, help="Show the files that it is made from instead.")
@fetch_options
@output_option("Print one JSON document.")
def plan(
    file: Path,
    variables: list[Variable],
    jobs: tuple[str, ...],
    projects: dict[str, Path],
    inputs: dict[str, str],
    sources: bool,
    fetch: FetchOptions,
    output: Output,
) -> int:
    """Show the jobs that the pipeline of FILE (default: the repository's .gitlab-ci.yml) would run here and now, and
    why other jobs are excluded.
    """
    compilation = _compile(file, variables, jobs, projects, inputs, fetch)
    _print_warnings(compilation.warnings)
    if sources:
        from cli.render.sources import source_rows

        output.rows(source_rows(compilation, for_people=output.for_people))
        return 0
    if compilation.left_out:
        print(f"longshore: {clean(str(file))}: nothing to run: {clean(compilation.left_out)}", file=sys.stderr)
    output.plan(compilation)
    return 0


@click.command("validate", cls=ServingCommand, settings_of="run", in_project=True)
@file_argument
@variable_option
@file_options
@fetch_options
def validate(
    file: Path, variables: list[Variable], projects: dict[str, Path], inputs: dict[str, str], fetch: FetchOptions
) -> int:
    """Check the pipeline of FILE (default: the repository's .gitlab-ci.yml) and print every error with its location."""
    try:
        compilation = _compile(file, variables, (), projects, inputs, fetch)
    except PipelineFileError as error:
        for problem in error.problems:
            print(clean_lines(str(problem)), file=sys.stderr)
        return error.exit_status
    from cli.render.phrases import counted

    _print_warnings(compilation.warnings)
    jobs = [job for job in compilation.jobs if not job.excluded]
    stages = {job.stage for job in jobs}
    print(f"{clean(str(file))}: valid, {counted(len(jobs), 'job')} in {counted(len(stages), 'stage')}")
    return 0


def _compile(
    file: Path,
    variables: list[Variable],
    jobs: tuple[str, ...],
    projects: dict[str, Path],
    inputs: dict[str, str],
    fetch: FetchOptions,
) -> Compilation:
    from pipeline import compile_pipeline

    values = {variable.key: variable.value for variable in variables}
    return compile_pipeline(
        file, variables=values, jobs=jobs, projects=projects, inputs=inputs, fetching=fetch.fetching(file)
    )


def _print_warnings(warnings: list[Problem]) -> None:
    for warning in warnings:
        print_warning(warning)
