"""The verb `hook`: a git hook of a repository on this host, whose pushes start runs."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import click

from cli.options.common import Target, coordinator_option
from protocol.errors import UsageError

if TYPE_CHECKING:
    from protocol.client import Client

HOOK = "post-receive"
MARK = "longshore hook receive"
EXECUTABLE = 0o755


@click.group("hook")
def hook_group() -> None:
    """Start runs by the git hook of a repository on this host."""


@hook_group.command("install")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--project", "name", metavar="GROUP/NAME", help="Project; default: the one with this repository.")
@coordinator_option
def install_command(where: Target, path: Path, name: str | None) -> None:
    """Write the post-receive hook of the repository at PATH, which starts runs of its project and shows their progress
    to whoever pushes.

    It acts as the user who pushes, who needs access to the coordinator: its owner, or somebody with `longshore login`.
    """
    from cli.session.session import reading_session

    file = _hooks(path) / HOOK
    with reading_session(where) as session:
        name = _project(session.client, path, name)
    line = _line(where, name)
    if file.exists() and MARK not in file.read_text(errors="replace"):
        raise UsageError(f"{file} exists already; add this line to it:\n{line}")
    file.parent.mkdir(exist_ok=True)
    file.write_text(f"#!/bin/sh\n# {MARK}: starts runs of {name}\n{line}\n")
    file.chmod(EXECUTABLE)
    click.echo(f"wrote {file}: pushes start runs of {name}")


@hook_group.command("receive", hidden=True)
@click.argument("name", metavar="GROUP/NAME")
@coordinator_option
def receive_command(where: Target, name: str) -> None:
    """Start the runs of a push, which git describes on stdin and in its environment."""
    from cli.session.session import acting_session
    from web.git import progress
    from web.git.options import Update, check_updates, parse_options, triggers

    count = int(os.environ.get("GIT_PUSH_OPTION_COUNT") or 0)
    options = parse_options([os.environ.get(f"GIT_PUSH_OPTION_{number}", "") for number in range(count)])
    updates = [Update(*line.split(" ", 2)) for line in sys.stdin.read().splitlines()]
    updates = [update for update in updates if update.ref.startswith(("refs/heads/", "refs/tags/"))]
    check_updates(updates)
    if options.wait:
        _say("Longshore: ci.wait can't refuse this push any more: that takes a push to Longshore itself")
    if options.skip:
        _say("Longshore: no run (ci.skip)")
        return
    user = os.environ.get("GL_USERNAME") or os.environ.get("REMOTE_USER") or os.environ.get("USER", "")
    wanted = triggers(name, f"hook {uuid4().hex}", user, updates, options, pushed=False)
    with acting_session(where) as session:
        for trigger in progress.add(session.client, wanted, _say):
            progress.follow(session.client, trigger, _say)


def _say(line: str) -> None:
    if line:
        print(line, flush=True)


def _hooks(path: Path) -> Path:
    """The folder of a repository's hooks. Raises UsageError."""
    command = ["git", "-C", str(path), "rev-parse", "--git-path", "hooks"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UsageError(f"{path} is no git repository; make one: git init --bare {shlex.quote(str(path))}")
    return path / done.stdout.strip()


def _project(client: Client, path: Path, name: str | None) -> str:
    """The project of a repository. Raises UsageError."""
    from protocol.messages import ListProjects, ProjectDetail, ProjectList, ShowProject

    if name is not None:
        return client.request(ShowProject, ProjectDetail, name=name, triggers=0).project.project.name
    here = path.resolve()
    projects = client.request(ListProjects, ProjectList).projects
    found = [view.project for view in projects if view.project.url and _resolved(view.project.url) == here]
    if not found:
        raise UsageError(f"no project has this repository; add it first: longshore project add GROUP/NAME {here}")
    if len(found) > 1:
        raise UsageError(f"several projects have this repository; give --project, such as {found[0].name}")
    return found[0].name


def _resolved(url: str) -> Path | None:
    from protocol.projects import is_local

    return Path(url.removeprefix("file://")).resolve() if is_local(url) else None


def _line(where: Target, name: str) -> str:
    """The shell line of the hook."""
    settings = [f"LONGSHORE_STATE={where.state}"]
    if where.coordinator:
        settings.append(f"LONGSHORE_COORDINATOR={where.coordinator}")
    return shlex.join(["env", *settings, sys.executable, "-m", "cli", "hook", "receive", name])
