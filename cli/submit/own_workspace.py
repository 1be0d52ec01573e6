"""A job's own workspace: the files of the checkout as they are now, for another try of a job of an earlier run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec

from cli.submit.variables import chosen_file
from cli.submit.workspace.maker import workspace_maker
from pipeline.git_repository import Repository
from protocol.client import Client
from protocol.errors import UsageError
from protocol.plan import Plan
from protocol.workspace import Workspace


class OwnWorkspace(msgspec.Struct, frozen=True):
    """An uploaded workspace, the project that it is of, and its directory."""

    workspace: Workspace
    project: str
    root: Path


@contextmanager
def own_workspace(client: Client, run: int, job: str) -> Iterator[OwnWorkspace]:
    """Uploads the files of the current directory's project for a job of a run. Until the context ends, what was
    uploaded is kept here, for a coordinator that has lost it.

    Raises UsageError if the run is of another project, LongshoreError, CoordinatorUnreachable.
    """
    repository = Repository(chosen_file(None).resolve().parent)
    project, of_run = repository.remote.path, client.get_run(run).project
    if project != of_run:
        raise UsageError(
            f"run {run} is of the project {of_run!r}, {repository.root} is {project!r}; "
            f"change to a checkout of {of_run!r}, or name it: `longshore -C DIR retry --with-workspace ...`"
        )
    detail = client.get_job(run, job)
    plan = Plan(
        name="",
        project=project,
        project_dir="",
        stages=[detail.job.stage],
        jobs=[detail.job],
        predefined=detail.checkout,
    )
    with closing(workspace_maker(repository)) as maker:
        yield OwnWorkspace(maker.upload(plan, client), project, repository.root)
        maker.submitted()
