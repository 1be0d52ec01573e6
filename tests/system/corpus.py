"""Runs pipelines with known ends, all at once, on a coordinator with two workers: ours, and those of others."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import docker
import yaml

from cli.submit.choice import Choice
from cli.submit.compile import compile_for_run
from cli.submit.snapshot import write_snapshot
from protocol.client import Client
from protocol.statuses import ExecutionStatus, FailureReason
from protocol.views import JobView, RunView
from protocol.workspace import TarWorkspace
from tests.conftest import Images
from tests.support.docker_jobs import unpacked
from tests.support.eventually import DEADLINE, eventually
from tests.support.system import System, commit_all

CASES = Path(__file__).parents[3] / "shared" / "conformance" / "plan"
OTHERS: dict[str, dict[str, Any]] = yaml.safe_load(Path(__file__).with_name("corpus.yml").read_text())
OURS: dict[str, dict[str, Any]] = yaml.safe_load((Path(__file__).parents[1] / "conformance" / "runs.yml").read_text())
TABLE = OURS | (OTHERS if CASES.is_dir() else {})
REMOTE = "git@gitlab.example.com:group/project.git"
ANYTHING = "..."

WEB_SERVER = """
FROM longshore/busybox:test
ENV NGINX_VERSION=1.27.4
EXPOSE 80
RUN mkdir -p /usr/share/nginx/html && \
    printf '#!/bin/sh\\nexec httpd -f -p 80 -h /usr/share/nginx/html\\n' >/docker-entrypoint.sh && \
    chmod 755 /docker-entrypoint.sh
"""
STORE = """
FROM longshore/busybox:test
CMD ["nc", "-ll", "-p", "6379", "-e", "cat"]
"""
DOUBLES = {"nginx:1.27.4-alpine-slim": WEB_SERVER, "redis:latest": STORE}
"""What stands in for images that do more than run a script."""


def shells(images: Images) -> dict[str, str]:
    """Names that the cases give to images of which they only want a shell, and what these are here."""
    small = ("busybox:latest", "alpine:latest", "nginx:alpine")
    return dict.fromkeys(small, images.busybox) | dict.fromkeys(("bash:latest", "debian:stable-slim"), images.debian)


@contextmanager
def named_images(client: docker.DockerClient, images: Images) -> Iterator[None]:
    """The engine has images of all names that the cases use; those that it had are left alone."""
    made = []
    try:
        for name, image in shells(images).items():
            if not client.images.list(name):
                assert client.images.get(image).tag(*name.split(":"))
                made.append(name)
        for name, dockerfile in DOUBLES.items():
            if not client.images.list(name):
                build = ["docker", "build", "-q", "-t", name, "-"]
                subprocess.run(build, input=dockerfile.encode(), check=True, capture_output=True)
                made.append(name)
        yield
    finally:
        for name in made:
            client.images.remove(name)


def submit(client: Client, folder: Path, key: str, images: Images) -> int:
    """Starts the pipeline of a case on a fresh copy of it; the run's id."""
    case, _, file = key.partition("/")
    project = folder / key.replace("/", "-") / "project"
    if key in OURS:
        for name, text in {**OURS[key].get("files", {}), ".gitlab-ci.yml": OURS[key]["file"]}.items():
            path = project / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    else:
        shutil.copytree(CASES / case, project, ignore=shutil.ignore_patterns("expect.json"))
    commit_all(project)
    subprocess.run(["git", "remote", "add", "origin", REMOTE], cwd=project, check=True)
    compiled = compile_for_run(
        project / (file or ".gitlab-ci.yml"), [], Choice(TABLE[key].get("only", [])), {}, {}, images.debian
    )
    snapshot = write_snapshot(compiled.root, project.parent / "workspace.tar")
    client.upload(snapshot.path)
    return client.submit_run(
        compiled.plan, TarWorkspace(digest=snapshot.digest, size=snapshot.size), source=compiled.source, token=key
    )


def ended(system: System, run: int, play: list[str]) -> RunView:
    """The run at its end, after these manual jobs were played as soon as they asked for it."""
    assert system.address is not None
    with Client(system.address, timeout=DEADLINE) as client:
        for job in play:
            play_once_asked(system, client, run, job)
        eventually(lambda: client.get_run(run).finished_at, within=3 * DEADLINE)  # all of them run at once
        return client.get_run(run)


def play_once_asked(system: System, client: Client, run: int, job: str) -> None:
    """Plays a manual job as soon as it waits for that."""
    eventually(lambda: system.status(run, job) == "manual")
    client.play(run, job)


def jobs_in(run: RunView) -> dict[str, JobView]:
    """A run's jobs by name."""
    return {job.name: job for stage in run.stages for job in stage.jobs}


def outcome(job: JobView) -> str:
    """How a job has ended, in the table's words."""
    if job.status is not ExecutionStatus.FAILED:
        return str(job.status)
    if job.failure_reason is not FailureReason.SCRIPT_FAILURE:
        return f"failed {job.failure_reason}"
    return f"failed {job.exit_code}"


def printed(log: str) -> list[str]:
    """The lines that a job's commands have printed."""
    lines = log.split("\n")
    if lines[-1] == "":
        lines.pop()
    return [line for line in lines if not line.startswith("$ ")]


def agree(lines: list[str], wanted: list[str]) -> bool:
    """Whether the lines are those that are wanted, `...` being any."""
    if ANYTHING not in wanted:
        return lines == wanted
    at = wanted.index(ANYTHING)
    tail = wanted[at + 1 :]
    return lines[:at] == wanted[:at] and lines[len(lines) - len(tail) :] == tail and len(lines) >= len(wanted) - 1


def archived(client: Client, job: JobView, folder: Path) -> list[str]:
    """The files in a job's archive."""
    ref = next(each for each in job.artifacts if each.kind == "archive")
    path = folder / "archive.tar.zst"
    client.download(ref.digest, path)
    with unpacked(path) as archive:
        return sorted(member.name for member in archive if not member.isdir())
