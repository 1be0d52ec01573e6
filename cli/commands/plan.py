"""The verb `plan`: prints a pipeline file's plan. Starts nothing."""

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
from protocol.display import clean
from protocol.plan import Variable

if TYPE_CHECKING:
    from cli.render.output import Output


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
    from pipeline import compile_pipeline

    values = {variable.key: variable.value for variable in variables}
    compilation = compile_pipeline(
        file, variables=values, jobs=jobs, projects=projects, inputs=inputs, fetching=fetch.fetching(file)
    )
    for warning in compilation.warnings:
        print_warning(warning)
    if sources:
        from cli.render.sources import source_rows

        output.rows(source_rows(compilation, for_people=output.for_people))
        return 0
    if compilation.left_out:
        print(f"longshore: {clean(str(file))}: nothing to run: {clean(compilation.left_out)}", file=sys.stderr)
    output.plan(compilation)
    return 0
