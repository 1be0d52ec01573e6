"""From a pipeline file to a submission: the plan, the project's root, and its origin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from cli.render.warnings import print_warning
from cli.submit.choice import Choice
from cli.submit.reuse import Borrowed, Part, chosen
from pipeline import Compilation, Repository, compile_pipeline
from pipeline.compiler import named_jobs
from pipeline.git_repository import readable
from pipeline.includes.fetching import Fetching
from pipeline.predefined_variables import MAX_TITLE
from protocol.errors import UsageError
from protocol.messages import Source
from protocol.plan import IncludeOptions, KeepRequest, Plan, Variable


class Project(msgspec.Struct, frozen=True):
    """The project to run: the files below `root` are the workspace."""

    root: Path
    plan: Plan
    source: Source
    borrowed: list[Borrowed] = []
    """What the plan's jobs need of jobs that do not run."""


def compile_for_run(
    file: Path,
    variables: Sequence[Variable],
    choice: Choice,
    projects: Mapping[str, Path],
    inputs: Mapping[str, str],
    default_image: str | None,
    repository: Repository | None = None,
    fetching: Fetching | None = None,
) -> Project:
    """Compiles `file` of the `repository`, which it locates; warnings go to stderr. `default_image` is for jobs
    that name none. Includes are fetched as `fetching` says, or not at all.

    Raises PipelineFileError listing all errors, UsageError if no job is left to run.
    """
    repository = repository or Repository(file.resolve().parent)
    compiled = compile_pipeline(
        file,
        repository=repository,
        variables={variable.key: variable.value for variable in variables},
        jobs=() if choice.is_partial else choice.jobs,
        projects=projects,
        inputs=inputs,
        fetching=fetching,
    )
    for warning in compiled.warnings:
        print_warning(warning)
    if not compiled.plan.jobs:
        from cli.render.validation import nothing_to_run

        raise UsageError(f"{file}: {nothing_to_run(compiled, _kind(compiled, repository))}")
    part = Part(compiled.plan, [])
    if choice.is_partial:
        planned = {job.name for job in compiled.plan.jobs}
        part = chosen(choice, compiled.plan, lambda name: named_jobs(name, compiled.jobs, planned))
    commit = repository.commit
    source = Source(
        file=readable(str(file)),
        ref=repository.branch or repository.tag or "",
        sha=commit.sha if repository.has_git else "",
        title=commit.title[:MAX_TITLE],
        user=repository.user[0],
    )
    includes = msgspec.structs.replace(
        fetching.options if fetching is not None else IncludeOptions(),
        projects={name: str(folder.resolve()) for name, folder in projects.items()},
    )
    plan = msgspec.structs.replace(part.plan, default_image=default_image, includes=includes)
    return Project(repository.root, plan, source, part.borrowed)


def keeping(project: Project, keep: KeepRequest | None) -> Project:
    """The project with the containers kept that are asked for. Raises UsageError for a job that there is not."""
    if keep is None:
        return project
    names = [job.name for job in project.plan.jobs]
    for name in keep.jobs:
        if name not in names:
            raise UsageError(f"--keep {name!r}: the run has no such job; it has: {', '.join(names)}")
    return msgspec.structs.replace(project, plan=msgspec.structs.replace(project.plan, keep=keep))


def _kind(compiled: Compilation, repository: Repository) -> str:
    """The kind of pipeline that was compiled, for a message."""
    given = {variable.key: variable.value for variable in compiled.plan.run_variables}
    if tag := given.get("CI_COMMIT_TAG") or repository.tag:
        return f"a pipeline of the tag {tag!r}"
    source = given.get("CI_PIPELINE_SOURCE", "push")
    branch = given.get("CI_COMMIT_BRANCH") or repository.branch
    return f"a {source} pipeline of the branch {branch!r}" if branch else f"a {source} pipeline"
