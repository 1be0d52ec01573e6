"""The verb `project`: repositories that start runs by themselves."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Any

import click

from cli.commands.notify import deliveries_command, notify_group
from cli.commands.project_hook import hook_command
from cli.options.common import Target, coordinator_option, output_option
from cli.submit.variables import variable_option
from protocol.errors import LongshoreError, UsageError
from protocol.plan import Variable

if TYPE_CHECKING:
    from cli.render.output import Output
    from protocol.client import Client
    from protocol.projects import ProjectSpec, ProjectView

STDIN = "-"
LAUNCH_SECONDS = 300.0
"""Time for a trigger to become a run: the first fetch of a large repository takes long."""
ASK_EVERY = 0.2


@click.group("project")
def project_group() -> None:
    """Manage projects: repositories whose pushes, merge requests and schedules start runs."""


project_group.add_command(hook_command)
project_group.add_command(notify_group)
project_group.add_command(deliveries_command)


def _settings(command: Any) -> Any:
    """The options that `add` and `set` share; one that is not given is None or empty."""
    options = [
        click.option("--default-branch", metavar="B", help="Default branch; default: the repository's own."),
        click.option("--poll", metavar="TIME", help="Look for changes this often, such as 1m; never: not at all."),
        click.option(
            "--credentials",
            metavar="SECRET",
            help="Name of the secret that git fetches with: a token, a password, or USER:PASSWORD.",
        ),
        click.option(
            "--hook-secret", metavar="-", help="Secret that verifies webhooks; - reads it from stdin, or asks for it."
        ),
        click.option(
            "--protect-branch",
            "protected_branches",
            multiple=True,
            metavar="PATTERN",
            help="Protected branches, which secrets with --branch are for. Repeatable; default: the default branch.",
        ),
        click.option(
            "--protect-tag", "protected_tags", multiple=True, metavar="PATTERN", help="Protected tags. Repeatable."
        ),
        click.option(
            "--forge",
            type=click.Choice(["gitea", "github", "gitlab", "bitbucket", "plain"]),
            help="Kind of the server that the repository is on; Forgejo is gitea.",
        ),
        click.option("--forge-api", metavar="URL", help="Address of its API; default: derived from the repository's."),
        click.option("--forge-token", metavar="SECRET", help="Name of the secret with the token that sets statuses."),
        click.option("--forge-per-job/--forge-per-run", default=None, help="Set a status for each job too, or not."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


@project_group.command("add")
@click.argument("name", metavar="GROUP/NAME")
@click.argument("url", default="")
@_settings
@coordinator_option
def add_command(where: Target, name: str, url: str, hook_secret: str | None, **settings: Any) -> None:
    """Add the project GROUP/NAME with the repository at URL: https://, ssh://, git@HOST:PATH, or a path on the
    coordinator's disk, which only its owner may give. Without URL, it is only pushed to Longshore itself.
    """
    from cli.session.session import acting_session
    from protocol.messages import AddProject, Done
    from protocol.projects import ProjectSpec

    spec = _changed(ProjectSpec(name=name, url=_absolute(url)), settings)
    secret = _hook_secret(hook_secret)
    with acting_session(where) as session:
        session.client.request(AddProject, Done, project=spec, hook_secret=secret)
    click.echo(f"added {name}")


@project_group.command("set")
@click.argument("name", metavar="GROUP/NAME")
@click.option("--url", metavar="URL", help="Address of the repository.")
@_settings
@coordinator_option
def set_command(where: Target, name: str, url: str | None, hook_secret: str | None, **settings: Any) -> None:
    """Change settings of a project; those not given stay. An empty value resets one."""
    from cli.session.session import acting_session
    from protocol.messages import ChangeProject, Done

    secret = _hook_secret(hook_secret)
    with acting_session(where) as session:
        spec = _project(session.client, name).project
        if url is not None:
            settings["url"] = _absolute(url)
        spec = _changed(spec, settings)
        session.client.request(ChangeProject, Done, name=name, project=spec, hook_secret=secret)
    click.echo(f"changed {name}")


@project_group.command("list")
@output_option("Print one JSON document instead of a table.")
@coordinator_option
def list_command(where: Target, output: Output) -> None:
    """List projects."""
    from cli.render.projects import project_rows
    from cli.session.session import reading_session
    from protocol.messages import ListProjects, ProjectList

    with reading_session(where) as session:
        projects = session.client.request(ListProjects, ProjectList).projects
    output.rows(project_rows(projects, for_people=output.for_people))


@project_group.command("show")
@click.argument("name", metavar="GROUP/NAME")
@output_option("Print one JSON document instead of text.")
@coordinator_option
def show_command(where: Target, name: str, output: Output) -> None:
    """Show a project's settings, and what its last triggers came to."""
    from cli.render.projects import project_json, project_text
    from cli.session.session import reading_session
    from protocol.messages import ProjectDetail, ShowProject

    with reading_session(where) as session:
        detail = session.client.request(ShowProject, ProjectDetail, name=name)
    output.document(project_json(detail), project_text(detail))


@project_group.command("rm")
@click.argument("name", metavar="GROUP/NAME")
@coordinator_option
def remove_command(where: Target, name: str) -> None:
    """Remove a project. Its runs stay."""
    from cli.session.session import acting_session
    from protocol.messages import Done, RemoveProject

    with acting_session(where) as session:
        session.client.request(RemoveProject, Done, name=name)
    click.echo(f"removed {name}")


@project_group.command("pause")
@click.argument("name", metavar="GROUP/NAME")
@coordinator_option
def pause_command(where: Target, name: str) -> None:
    """Refuse what would start runs of a project, until `resume`. Runs go on."""
    _pause(where, name, paused=True)


@project_group.command("resume")
@click.argument("name", metavar="GROUP/NAME")
@coordinator_option
def resume_command(where: Target, name: str) -> None:
    """Let a paused project start runs again."""
    _pause(where, name, paused=False)


@project_group.command("run")
@click.argument("name", metavar="GROUP/NAME")
@click.option("--ref", default="", metavar="REF", help="Branch or tag; default: the default branch.")
@variable_option
@output_option("Print the run as one JSON document.")
@coordinator_option
def run_command(where: Target, name: str, ref: str, variables: list[Variable], output: Output) -> None:
    """Start a run of a project's branch or tag as its repository has it now, and print the run's id. Its
    CI_PIPELINE_SOURCE is api.
    """
    from uuid import uuid4

    from cli.session.session import acting_session
    from protocol.messages import AddTrigger, TriggerAdded
    from protocol.projects import TriggerSpec

    with acting_session(where) as session:
        client = session.client
        trigger = TriggerSpec(project=name, key=f"run:{uuid4().hex}", source="api", ref=ref, variables=variables)
        added = client.request(AddTrigger, TriggerAdded, trigger=trigger)
        if added.outcome == "refused":
            raise UsageError(added.reason)
        run = _run_of(client, added.trigger)
        output.submitted(run, lambda: client.get_run(run))


def _run_of(client: Client, trigger: int) -> int:
    """Waits for the run of a trigger. Raises LongshoreError if it starts none."""
    from protocol.messages import GetTrigger, TriggerDetail

    deadline = time.monotonic() + LAUNCH_SECONDS
    while True:
        view = client.request(GetTrigger, TriggerDetail, trigger=trigger).trigger
        if view.run is not None:
            return view.run
        if view.state != "pending":
            raise LongshoreError(f"no run was started: {view.reason}")
        if time.monotonic() > deadline:
            raise LongshoreError(
                f"trigger {trigger} still waits for its run: see `longshore project show {view.project}`, and why in "
                "the coordinator's log"
            )
        time.sleep(ASK_EVERY)


def _pause(where: Target, name: str, *, paused: bool) -> None:
    from cli.session.session import acting_session
    from protocol.messages import ChangeProject, Done

    with acting_session(where) as session:
        session.client.request(ChangeProject, Done, name=name, paused=paused)
    click.echo(f"{'paused' if paused else 'resumed'} {name}")


def _project(client: Client, name: str) -> ProjectView:
    from protocol.messages import ProjectDetail, ShowProject

    return client.request(ShowProject, ProjectDetail, name=name, triggers=0).project


def _changed(spec: ProjectSpec, settings: dict[str, Any]) -> ProjectSpec:
    """The settings with what was given. Raises UsageError."""
    import msgspec

    from protocol.errors import UsageError
    from protocol.projects import STATUS_FORGES, Forge, check_project_name, check_project_url

    given = {key: value for key in ("url", "default_branch", "credentials") if (value := settings.get(key)) is not None}
    if settings["poll"] is not None:
        given["poll_seconds"] = _seconds(settings["poll"])
    for key in ("protected_branches", "protected_tags"):
        if settings[key]:
            given[key] = [pattern for pattern in settings[key] if pattern]
    if given.get("protected_branches") == []:
        given["protected_branches"] = None
    forge = spec.forge or Forge()
    named = {"kind": settings["forge"], "api": settings["forge_api"], "token": settings["forge_token"]}
    named["per_job"] = settings["forge_per_job"]
    if named := {key: value for key, value in named.items() if value is not None}:
        given["forge"] = msgspec.structs.replace(forge, **named)
    spec = msgspec.structs.replace(spec, **given)
    check_project_name(spec.name)
    check_project_url(spec.url)
    if spec.forge is not None and spec.forge.token and spec.forge.kind not in STATUS_FORGES:
        raise UsageError(f"--forge-token: no statuses go to {spec.forge.kind}, only to {', '.join(STATUS_FORGES)}")
    return spec


def _seconds(text: str) -> float | None:
    from pipeline.units import seconds_of

    if text in ("", "never"):
        return None
    seconds = seconds_of(text)
    if seconds is None:
        raise click.BadParameter(f"{text!r} is not a duration; use 30s, 1m or 2h, or never", param_hint="--poll")
    return seconds


def _absolute(url: str) -> str:
    """A path on this disk as git at the coordinator finds it; an address as it is."""
    return os.path.abspath(url) if os.path.isdir(url) else url


def _hook_secret(given: str | None) -> str | None:
    if given is None:
        return None
    if given != STDIN:
        raise click.BadParameter("a secret is no argument: give -, and the secret on stdin", param_hint="--hook-secret")
    if sys.stdin.isatty():
        return str(click.prompt("Secret of the webhooks", hide_input=True, confirmation_prompt=True, err=True))
    return sys.stdin.read().removesuffix("\n")
