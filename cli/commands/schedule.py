"""The verb `schedule`: times at which projects start runs."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING
from uuid import uuid4

import click

from cli.options.common import Target, coordinator_option, output_option
from cli.submit.variables import variable_option

if TYPE_CHECKING:
    from cli.render.output import Output
    from protocol.plan import Variable


@click.group("schedule")
def schedule_group() -> None:
    """Manage schedules: times at which projects start runs."""


@schedule_group.command("add")
@click.argument("project", metavar="GROUP/NAME")
@click.argument("cron", metavar="CRON")
@click.option("--timezone", default="UTC", show_default=True, metavar="TZ", help="Time zone, such as Europe/Berlin.")
@click.option("--ref", default="", metavar="REF", help="Branch or tag; default: the project's default branch.")
@variable_option
@click.option(
    "--missed",
    type=click.Choice(["run-once", "skip"]),
    default="run-once",
    show_default=True,
    help="After a time without a coordinator: one run for all missed times, or none.",
)
@click.option(
    "--overlap",
    type=click.Choice(["skip", "queue", "allow"]),
    default="skip",
    show_default=True,
    help="While its last run goes on: no run, one after it, or one beside it.",
)
@click.option("--description", default="", metavar="TEXT", help="For people, and CI_PIPELINE_SCHEDULE_DESCRIPTION.")
@output_option("Print one JSON document instead of text.")
@coordinator_option
def add_command(
    where: Target,
    project: str,
    cron: str,
    timezone: str,
    ref: str,
    variables: list[Variable],
    missed: str,
    overlap: str,
    description: str,
    output: Output,
) -> None:
    """Start runs of GROUP/NAME by CRON: minute, hour, day of month, month and day of week, such as "0 3 * * 1-5".

    A time that a change of the clock skips comes right after it, one that it repeats comes once.
    """
    from cli.render.schedules import next_times
    from cli.session.session import acting_session
    from protocol.cron import Cron
    from protocol.messages import AddSchedule, ScheduleAdded
    from protocol.schedules import ScheduleSpec

    Cron(cron, timezone)
    spec = ScheduleSpec(
        project=project,
        cron=cron,
        timezone=timezone,
        ref=ref,
        variables=variables,
        description=description,
        missed=missed,  # type: ignore[arg-type]  # one of the choices
        overlap=overlap,  # type: ignore[arg-type]
    )
    with acting_session(where) as session:
        added = session.client.request(AddSchedule, ScheduleAdded, token=uuid4().hex, schedule=spec)
    times = next_times(spec, time.time())
    output.document({"id": added.schedule, "next": times}, f"added schedule {added.schedule}; next: {', '.join(times)}")


@schedule_group.command("list")
@click.argument("project", metavar="[GROUP/NAME]", required=False)
@output_option("Print one JSON document instead of a table.")
@coordinator_option
def list_command(where: Target, project: str | None, output: Output) -> None:
    """List schedules, of one project or all, with their next three times and what came of the last one."""
    from cli.render.schedules import schedule_rows
    from cli.session.session import reading_session
    from protocol.messages import ListSchedules, ScheduleList

    with reading_session(where) as session:
        schedules = session.client.request(ListSchedules, ScheduleList, project=project).schedules
    output.rows(schedule_rows(schedules, time.time(), for_people=output.for_people))


@schedule_group.command("rm")
@click.argument("schedule", metavar="ID", type=int)
@coordinator_option
def remove_command(where: Target, schedule: int) -> None:
    """Remove the schedule ID. Its runs stay."""
    from cli.session.session import acting_session
    from protocol.messages import Done, RemoveSchedule

    with acting_session(where) as session:
        session.client.request(RemoveSchedule, Done, schedule=schedule)
    click.echo(f"removed schedule {schedule}")


@schedule_group.command("run")
@click.argument("schedule", metavar="ID", type=int)
@coordinator_option
def run_command(where: Target, schedule: int) -> None:
    """Start the run of the schedule ID now, whatever its times and pause."""
    from cli.session.session import acting_session
    from protocol.errors import LongshoreError
    from protocol.messages import RunSchedule, TriggerAdded

    with acting_session(where) as session:
        added = session.client.request(RunSchedule, TriggerAdded, schedule=schedule, token=uuid4().hex)
    if added.outcome == "refused":
        raise LongshoreError(f"schedule {schedule} starts no run: {added.reason}")
    click.echo(f"started schedule {schedule}: trigger {added.trigger}")


@schedule_group.command("pause")
@click.argument("schedule", metavar="ID", type=int)
@coordinator_option
def pause_command(where: Target, schedule: int) -> None:
    """Start no runs by the schedule ID until `resume`."""
    _pause(where, schedule, on=True)


@schedule_group.command("resume")
@click.argument("schedule", metavar="ID", type=int)
@coordinator_option
def resume_command(where: Target, schedule: int) -> None:
    """Continue a paused schedule. Times during its pause are not made up for."""
    _pause(where, schedule, on=False)


def _pause(where: Target, schedule: int, *, on: bool) -> None:
    from cli.session.session import acting_session
    from protocol.messages import Done, PauseSchedule

    with acting_session(where) as session:
        session.client.request(PauseSchedule, Done, schedule=schedule, on=on)
    click.echo(f"{'paused' if on else 'resumed'} schedule {schedule}")
