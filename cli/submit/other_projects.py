"""The projects of `--project` that a run brings along: jobs may start their pipelines when the client is gone.

Each has a snapshot like that of the run's own project.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Protocol

import msgspec

from cli.render.warnings import print_warning
from cli.submit.variables import PIPELINE_FILE
from cli.submit.workspace.maker import WorkspaceMaker, workspace_maker
from pipeline import Repository, compile_pipeline
from pipeline.downstream import MULTI_PROJECT
from pipeline.includes.fetching import Fetching
from pipeline.includes.sources import mapped_project
from pipeline.predefined_variables import MAX_TITLE, project_dir
from pipeline.problems import Report
from pipeline.subject import FileSubject
from pipeline.variables import fixed
from protocol.client import Client
from protocol.errors import LongshoreError
from protocol.messages import Origin, Source
from protocol.plan import JobPlan, Plan


class FetchesFor(Protocol):
    """How to fetch the includes of a pipeline file."""

    def __call__(self, file: Path) -> Fetching: ...


class OtherProjects:
    """Those of the mapped projects that jobs of `plan`, or of pipelines that they start, may start a pipeline of.

    Every mapped directory with a pipeline file is one if the plan starts any: what a child starts is not known yet.
    Raises PipelineFileError for a bad file of variables.
    """

    def __init__(self, plan: Plan, mapped: Mapping[str, Path], fetching: FetchesFor) -> None:
        self._stack = ExitStack()
        self._projects: list[_Project] = []
        triggers = [job.trigger for job in plan.jobs if job.trigger is not None]
        if not triggers:
            return
        found = {name.strip("/"): path for name, path in mapped.items() if "://" not in name}
        for trigger in triggers:
            if trigger.project and (path := mapped_project(trigger.project, mapped)) is not None:
                found.setdefault(trigger.project, path)
        unique = {name.casefold(): (name, path) for name, path in found.items()}
        for name, path in unique.values():
            if (path / PIPELINE_FILE).is_file() and name != plan.project:
                project = _Project(name, path, plan, fetching)
                self._stack.enter_context(closing(project.maker))
                self._projects.append(project)

    def upload(self, client: Client) -> list[Origin]:
        """What the coordinator needs of each, once it has their files. May be called again.

        Raises LongshoreError, CoordinatorUnreachable.
        """
        return [project.upload(client) for project in self._projects]

    def submitted(self) -> None:
        """Removes what was made for the upload."""
        for project in self._projects:
            project.maker.submitted()

    def close(self) -> None:
        """Ends all of its processes, from any thread."""
        self._stack.close()


class _Project:
    def __init__(self, name: str, folder: Path, plan: Plan, fetching: FetchesFor) -> None:
        repository = Repository(folder, whole=True, path=name)
        file = folder / PIPELINE_FILE
        subject = FileSubject(file, repository, {})
        own = subject.project_variables(Report())
        facts = fixed(subject.predefined({variable.key: variable.value for variable in own}))
        commit = repository.commit
        self.maker: WorkspaceMaker = workspace_maker(repository)
        self._origin = Origin(
            project=name,
            file=subject.name,
            predefined=facts,
            project_variables=own,
            default_image=plan.default_image,
            includes=plan.includes,
            source=Source(
                file=subject.name,
                ref=repository.branch or repository.tag or "",
                sha=commit.sha if repository.has_git else "",
                title=commit.title[:MAX_TITLE],
                user=repository.user[0],
            ),
        )
        jobs = _expected_jobs(file, repository, fetching) or [JobPlan(name="any", stage="any", script=[])]
        self._plan = Plan(
            name=name,
            project=name,
            project_dir=project_dir(repository),
            stages=[],
            jobs=jobs,
            predefined=facts,
            run_variables=own,
        )

    def upload(self, client: Client) -> Origin:
        """See OtherProjects."""
        return msgspec.structs.replace(self._origin, workspace=self.maker.upload(self._plan, client))


def _expected_jobs(file: Path, repository: Repository, fetching: FetchesFor) -> list[JobPlan]:
    """The jobs that the pipeline probably has: they say how much history and which submodules its snapshot needs.

    None for a bad file, with a warning: starting its pipeline will fail.
    """
    try:
        compiled = compile_pipeline(
            file, repository=repository, variables={"CI_PIPELINE_SOURCE": MULTI_PROJECT}, fetching=fetching(file)
        )
    except LongshoreError as error:
        print_warning(f"the pipeline of {file.parent} can't be started: {error}")
        return []
    return compiled.plan.jobs
