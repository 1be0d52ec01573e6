"""The verb `validate`: checks a pipeline file, for people and for editors. Starts nothing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.options.common import output_option
from cli.options.fetching import FetchOptions, fetch_options
from cli.options.serving import ServingCommand
from cli.render.warnings import print_warning
from cli.submit.variables import file_argument, file_options, variable_option
from protocol.display import clean, clean_lines
from protocol.errors import PipelineFileError
from protocol.plan import Variable

if TYPE_CHECKING:
    from cli.render.output import Output


@click.command("validate", cls=ServingCommand, settings_of="run", in_project=True)
@file_argument
@variable_option
@file_options
@fetch_options
@output_option("Print one JSON document, with the place of every error and warning.")
def validate(
    file: Path,
    variables: list[Variable],
    projects: dict[str, Path],
    inputs: dict[str, str],
    fetch: FetchOptions,
    output: Output,
) -> int:
    """Check the pipeline of FILE (default: the repository's .gitlab-ci.yml) and print every error with its location."""
    from cli.render.phrases import counted
    from cli.render.validation import validation_json
    from pipeline import Repository, compile_pipeline

    repository = Repository(file.resolve().parent)
    values = {variable.key: variable.value for variable in variables}
    try:
        compilation = compile_pipeline(
            file,
            repository=repository,
            variables=values,
            projects=projects,
            inputs=inputs,
            fetching=fetch.fetching(file),
        )
    except PipelineFileError as error:
        for problem in error.problems:
            output.note(clean_lines(str(problem)))
        if not output.for_people:
            output.document(validation_json(file, repository.root, error.problems), "")
        return error.exit_status
    if output.for_people:
        for warning in compilation.warnings:
            print_warning(warning)
    jobs = [job for job in compilation.jobs if not job.excluded]
    stages = {job.stage for job in jobs}
    text = f"{clean(str(file))}: valid, {counted(len(jobs), 'job')} in {counted(len(stages), 'stage')}"
    output.document(validation_json(file, repository.root, (), compilation), text)
    return 0
