"""The measured work: plans for the coordinator, and the same as pipeline files in git repositories."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from pathlib import Path

from protocol.plan import ImageSpec, JobPlan, Need, Plan, Resources

IMAGE = "longshore/demo:latest"
"""A static busybox, built by `scripts/images.sh demo`."""
LOG_LIMIT = 1 << 30


def independent_plan(jobs: int, script: str = "true") -> Plan:
    """A plan of independent jobs."""
    return _plan([_job(f"job {number}", script) for number in range(jobs)])


def chain_plan(jobs: int, script: str) -> Plan:
    """A plan of jobs in a chain of needs."""
    return _plan(
        [
            _job(f"job {number}", script, needs=[Need(job=f"job {number - 1}")] if number else [])
            for number in range(jobs)
        ]
    )


def _job(name: str, script: str, needs: list[Need] | None = None) -> JobPlan:
    return JobPlan(
        name=name,
        stage="test",
        script=[script],
        image=ImageSpec(name=IMAGE),
        needs=needs or [],
        resources=Resources(log_limit=LOG_LIMIT),
    )


def _plan(jobs: list[JobPlan]) -> Plan:
    return Plan(name="", project="benchmark", project_dir="/builds/benchmark", stages=["test"], jobs=jobs)


def independent_file(jobs: int) -> str:
    """`independent_plan` as a pipeline file."""
    return _file(f"job {number}:\n  script: ['true']\n" for number in range(jobs))


def chain_file(jobs: int) -> str:
    """`chain_plan` as a pipeline file."""
    return _file(
        f"job {number}:\n  script: ['true']\n  needs: [{f'job {number - 1}' if number else ''}]\n"
        for number in range(jobs)
    )


def _file(jobs: Iterable[str]) -> str:
    return f"default:\n  image: {IMAGE}\n" + "".join(jobs)


def repository(folder: Path, pipeline: str) -> Path:
    """A git repository with one commit of one pipeline file."""
    folder.mkdir(parents=True)
    (folder / ".gitlab-ci.yml").write_text(pipeline)
    author = ["-c", "user.name=Bench", "-c", "user.email=bench@example.com"]
    for command in (["init", "-q", "-b", "main"], ["add", "-A"], [*author, "commit", "-q", "-m", "Benchmark"]):
        subprocess.run(["git", *command], cwd=folder, check=True, capture_output=True)
    return folder
