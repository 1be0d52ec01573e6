"""Compiles a pipeline file with the child pipelines that its jobs start, as far as their files exist without a run: to
know all files that a run may include.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import msgspec

from pipeline.child import ChildSubject
from pipeline.compiler import Compilation, compile_subject
from pipeline.git_repository import Repository
from pipeline.includes.fetching import Fetching, OtherProjects
from pipeline.subject import FileSubject, Subject
from protocol import forwarding
from protocol.errors import LongshoreError, PipelineFileError, Problem
from protocol.plan import JobPlan, Plan, TriggerPlan, Variable

LEVELS = 2
"""Levels of children below a pipeline, as in GitLab."""


def compile_with_children(
    path: Path,
    *,
    variables: Mapping[str, str],
    projects: Mapping[str, Path],
    inputs: Mapping[str, str],
    fetching: Fetching,
) -> Compilation:
    """As `compile_pipeline`; `sources` has the files of the jobs' child pipelines and of their children too.

    Files that jobs generate are left out. If a child consists of such files too, what is wrong with the others is a
    warning. Raises PipelineFileError listing all problems of the pipeline, else of all children.
    """
    given = [Variable(key=key, value=value) for key, value in variables.items()]
    repository = Repository(path.resolve().parent)
    subject = FileSubject(path, repository, inputs)
    with closing(OtherProjects(repository, projects, fetching)) as others:
        compiled = compile_subject(subject, given, None, others, str(path))
        children = _Children(subject, others, compiled.warnings)
        children.compile(compiled.plan, 1)
        if children.problems:
            raise PipelineFileError(children.problems)
        return compiled


class _Children:
    def __init__(self, subject: Subject, others: OtherProjects, warnings: list[Problem]) -> None:
        self._subject = subject
        self._others = others
        self._warnings = warnings
        self.problems: list[Problem] = []

    def compile(self, parent: Plan, level: int) -> None:
        for job in parent.jobs:
            if job.trigger is not None:
                static = [file for file in job.trigger.include if not file.artifact]
                if static:
                    is_whole = len(static) == len(job.trigger.include)
                    self._child(parent, job, msgspec.structs.replace(job.trigger, include=static), level, is_whole)

    def _child(self, parent: Plan, job: JobPlan, trigger: TriggerPlan, level: int, is_whole: bool) -> None:
        subject = ChildSubject(
            self._subject.name,
            0,
            job.name,
            0,
            trigger,
            self._subject.source,
            self._subject.history,
            parent.predefined,
            parent.run_variables[: parent.project_variables],
            _no_artifact,
        )
        layers = [*parent.predefined, *job.variables, *parent.run_variables]
        variables = forwarding.expanded(forwarding.wanted(parent, job.variables, trigger), layers)
        try:
            compiled = compile_subject(subject, variables, None, self._others, self._subject.name)
        except PipelineFileError as error:
            found = self.problems if is_whole else self._warnings
            found += [problem for problem in error.problems if problem not in found]
            return
        if level < LEVELS:
            self.compile(compiled.plan, level + 1)


def _no_artifact(job: str, path: str) -> bytes:
    raise LongshoreError(f"{path} of {job} exists in a run only")
