"""The verb `artifacts`: lists and fetches what jobs have left."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.commands.read import find_job, run_argument
from cli.options.common import Target, coordinator_option, output_option
from cli.session.session import reading_session
from protocol.display import clean, printable
from protocol.errors import UsageError
from protocol.views import JobView, RunView

if TYPE_CHECKING:
    from cli.artifacts.fetching import Fetcher, Selection
    from cli.render.output import Output

STDOUT = "-"
MOST_NAMED = 5
"""Maximum number of files named in a message."""
TELL_AFTER = 4 << 20
"""Bytes of an artifact from which a terminal gets its progress."""


@click.command("artifacts")
@run_argument
@click.argument("job", required=False)
@click.argument("paths", metavar="[PATH]...", nargs=-1)
@click.option("-o", "--output", "target", metavar="DIR|-", help="Fetch them into DIR, or one file to stdout.")
@output_option("Print one JSON document.")
@coordinator_option
def artifacts_command(
    where: Target, run: int, job: str | None, paths: tuple[str, ...], target: str | None, output: Output
) -> None:
    """List the artifacts and reports of RUN's jobs, or the files of JOB; with -o, fetch them.

    PATH is a file, a directory or a pattern, relative to the project directory. Without JOB, each job's files go to
    DIR/JOB; with it, to DIR. Files that are there already are overwritten, others stay.
    """
    from cli.artifacts.fetching import Fetcher, Selection

    selection = Selection(paths)
    if target == STDOUT and not job:
        raise UsageError("-o - writes one file to stdout; name its JOB, and its PATH unless it is the only one")
    with reading_session(where) as session:
        view = session.client.get_run(run)
        jobs = [find_job(view, job)] if job else [each for stage in view.stages for each in stage.jobs]
        if job and not jobs[0].artifacts:
            raise UsageError(f"job {job!r} of run {run} has no artifacts")
        with _progress() as tell:
            fetcher = Fetcher(lambda: session.client, session.again, tell)
            if target == STDOUT:
                _print_file(fetcher, jobs[0], selection)
                return
            if target is not None:
                rows = _lay(fetcher, view, jobs, Path(target), selection, alone=job is not None)
            elif job:
                rows = _list_files(fetcher, jobs[0], selection)
            else:
                rows = _list_artifacts(jobs)
    if job:
        selection.check(run, job)
    output.rows(rows)


def _list_artifacts(jobs: Sequence[JobView]) -> list[dict[str, Any]]:
    from cli.render.json_views import rfc3339

    return [
        {
            "job": job.name,
            "kind": ref.kind,
            "name": ref.name,
            "size": ref.size,
            "expires_at": rfc3339(ref.expires_at),
            "digest": ref.digest,
        }
        for job in jobs
        for ref in job.artifacts
    ]


def _list_files(fetcher: Fetcher, job: JobView, selection: Selection) -> list[dict[str, Any]]:
    with fetcher.files(job, selection.wants) as found:
        return [
            {
                "path": printable(each.entry.path),
                "kind": each.entry.kind,
                "size": each.entry.size,
                "mode": None if each.entry.mode is None else f"{each.entry.mode:04o}",
                "target": each.entry.target or None,
            }
            for each in found
        ]


def _print_file(fetcher: Fetcher, job: JobView, selection: Selection) -> None:
    with fetcher.files(job, selection.wants) as found:
        files = {each.entry.path: each for each in reversed(found) if each.entry.kind not in ("directory", "link")}
        if len(files) != 1:
            some = ", ".join(clean(printable(path)) for path in sorted(files)[:MOST_NAMED])
            raise UsageError(
                f"-o - writes one file, and {len(files)} of job {job.name!r} match"
                + (f": {some}{', ...' if len(files) > MOST_NAMED else ''}; name one" if files else "")
            )
        (file,) = files.values()
        for piece in file.content():
            sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()


def _lay(
    fetcher: Fetcher, run: RunView, jobs: Sequence[JobView], target: Path, selection: Selection, *, alone: bool
) -> list[dict[str, Any]]:
    from cli.artifacts.fetching import directory_names

    names = directory_names([job.name for stage in run.stages for job in stage.jobs])
    rows = []
    for job in jobs:
        if job.artifacts:
            place = target if alone else target / names[job.name]
            files, size = fetcher.lay(job, place, selection.wants)
            rows.append({"job": job.name, "directory": str(place), "files": files, "size": size})
    return rows


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    """What shows the progress of large artifacts on a terminal."""
    if not sys.stderr.isatty():
        yield lambda arrived, size: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

    columns = BarColumn(), DownloadColumn(binary_units=True), TransferSpeedColumn(), TimeRemainingColumn()
    with Progress(*columns, console=Console(file=sys.stderr), transient=True) as progress:
        task = progress.add_task("", visible=False)

        def tell(arrived: int, size: int) -> None:
            progress.update(task, completed=arrived, total=size, visible=TELL_AFTER < size > arrived)

        yield tell
