"""Builds a project with a pipeline file in a temporary folder, and compiles it."""

from __future__ import annotations

import os
import subprocess
import textwrap
from pathlib import Path
from typing import Any

import pytest

from pipeline import Compilation, compile_pipeline
from protocol.errors import PipelineFileError
from protocol.plan import JobPlan, Plan
from protocol.variables import expand_all

GIT_ENVIRONMENT = {
    **os.environ,
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_SYSTEM": os.devnull,
    "GIT_AUTHOR_NAME": "Ann",
    "GIT_AUTHOR_EMAIL": "ann@example.com",
    "GIT_COMMITTER_NAME": "Ann",
    "GIT_COMMITTER_EMAIL": "ann@example.com",
    "GIT_CONFIG_COUNT": "1",
    "GIT_CONFIG_KEY_0": "maintenance.auto",  # a process of its own after each commit
    "GIT_CONFIG_VALUE_0": "false",
}


class Project:
    """A folder; `git` makes it a repository."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(parents=True, exist_ok=True)

    def write(self, name: str, text: str) -> Path:
        """Writes a file, with the indentation of the test taken off."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text).lstrip("\n"))
        return path

    def git(self, *arguments: str) -> str:
        """Runs git in the project."""
        return subprocess.run(
            ["git", *arguments], cwd=self.root, check=True, capture_output=True, text=True, env=GIT_ENVIRONMENT
        ).stdout.strip()

    def commit(self, message: str = "first") -> None:
        """Commits everything; the first time it makes the repository."""
        if not (self.root / ".git").exists():
            self.git("init", "-q", "-b", "main")
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", message)

    def compile(self, text: str | None = None, **options: Any) -> Compilation:
        """Compiles `.gitlab-ci.yml`, after writing `text` to it."""
        path = self.root / ".gitlab-ci.yml"
        if text is not None:
            self.write(".gitlab-ci.yml", text)
        return compile_pipeline(path, **options)

    def plan(self, text: str | None = None, **options: Any) -> Plan:
        """The plan of `.gitlab-ci.yml`."""
        return self.compile(text, **options).plan

    def job(self, text: str, name: str = "job", **options: Any) -> JobPlan:
        """One job of the plan."""
        return next(job for job in self.plan(text, **options).jobs if job.name == name)

    def names(self, text: str | None = None, **options: Any) -> list[str]:
        """The names of all jobs in the plan."""
        return [job.name for job in self.plan(text, **options).jobs]

    def variables(self, text: str, name: str = "job", **options: Any) -> dict[str, str]:
        """What a job's variables are in the end, as far as that is known before the run."""
        plan = self.plan(text, **options)
        job = next(job for job in plan.jobs if job.name == name)
        return expand_all([*plan.predefined, *job.variables, *plan.run_variables])

    def problems(self, text: str | None = None, **options: Any) -> list[str]:
        """What is wrong with `.gitlab-ci.yml`; something has to be."""
        with pytest.raises(PipelineFileError) as raised:
            self.compile(text, **options)
        return [str(problem) for problem in raised.value.problems]

    def warnings(self, text: str, **options: Any) -> list[str]:
        """What is odd in `.gitlab-ci.yml`."""
        return [str(warning) for warning in self.compile(text, **options).warnings]


def image_of(job: JobPlan) -> str | None:
    """The name of a job's image."""
    return job.image.name if job.image else None


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """An empty folder that is no git repository yet."""
    return Project(tmp_path / "project")
