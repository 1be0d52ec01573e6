"""The verb `pages`: the static pages that a run's jobs have published."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.commands.read import run_argument
from cli.options.common import Target, coordinator_option, output_option
from cli.render.phrases import counted
from protocol.display import clean, printable
from protocol.errors import UsageError
from protocol.views import PAGES, JobView, Pages, RunView

if TYPE_CHECKING:
    from cli.artifacts.fetching import Fetcher
    from cli.artifacts.unpacking import Entry
    from cli.render.output import Output
    from cli.session.session import Session

PREFIX = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*", re.ASCII)
"""Prefixes that are names of directories; a run's plan need not come from our compiler."""
NAMES_SHOWN = 10


@click.command("pages")
@run_argument
@click.option(
    "-o",
    "directory",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Fetch the files into DIR.",
)
@click.option("--job", metavar="JOB", help="Only the pages of this job.")
@output_option("Print one JSON document instead of a table.")
@coordinator_option
def pages_command(where: Target, output: Output, run: int, directory: Path | None, job: str | None) -> None:
    """List the pages that jobs of RUN have published; with -o, fetch them.

    Pages with a prefix come into a directory of that name in DIR. Files that are there already are overwritten, others
    stay.
    """
    from cli.render.pages import page_rows
    from cli.session.session import reading_session

    with reading_session(where) as session:
        jobs = _jobs(session.client.get_run(run), job)
        if directory is not None:
            _download(session, jobs, directory, output)
    output.rows(page_rows(jobs, for_people=output.for_people))


def _jobs(run: RunView, name: str | None) -> list[JobView]:
    """The jobs with pages, or the named one. Raises UsageError if there are none."""
    jobs = [job for stage in run.stages for job in stage.jobs if job.pages is not None]
    found = [job for job in jobs if name in (None, job.name)]
    if not found:
        whose = f"job {name!r} of run {run.id}" if name else f"run {run.id}"
        others = f"; these jobs have: {', '.join(job.name for job in jobs)}" if jobs else ""
        raise UsageError(f"{whose} has published no pages{others}")
    return found


def _download(session: Session, jobs: list[JobView], directory: Path, output: Output) -> None:
    """Lays the pages of all jobs into a directory, those without a prefix first: the others are served below them."""
    from cli.artifacts.fetching import Fetcher

    places: dict[str, str] = {}
    for job, pages in _with_pages(jobs):
        if (other := places.setdefault(pages.path_prefix, job.name)) != job.name:
            raise UsageError(f"{other} and {job.name} have published at the same place; choose one with --job")
        if pages.path_prefix and not PREFIX.fullmatch(pages.path_prefix):
            raise UsageError(f"{job.name} has published at {pages.path_prefix!r}, which is no name of a directory")
    fetcher = Fetcher(lambda: session.client, session.again)
    for job, pages in _with_pages(jobs):
        left_out = _lay(fetcher, job, directory / pages.path_prefix)
        if left_out:
            names = " ".join(map(printable, left_out[:NAMES_SHOWN]))
            text = f"{job.name}: {counted(len(left_out), 'link')} left out that lead out of the pages: {names}"
            output.note(clean(text))


def _lay(fetcher: Fetcher, job: JobView, root: Path) -> list[str]:
    """Lays a job's pages into a directory. Returns the links that are left out."""
    from cli.artifacts.unpacking import Unpacker, entries

    root.mkdir(parents=True, exist_ok=True)
    ref, source = next(ref for ref in job.artifacts if ref.kind == PAGES), f"job {job.name!r}"
    with fetcher.file(ref, job.name, root) as archive, Unpacker(root) as unpacker:
        outside = {each.path for each in entries(archive, source) if each.target and leads_out(each)}
        unpacker.archive(archive, source, lambda path: path not in outside)
    return sorted(outside)


def leads_out(link: Entry) -> bool:
    """Whether a symbolic link of an archive leads out of the directory that the archive is unpacked into."""
    path = posixpath.normpath(posixpath.join(posixpath.dirname(link.path), link.target))
    return link.target.startswith("/") or path == ".." or path.startswith("../")


def _with_pages(jobs: list[JobView]) -> list[tuple[JobView, Pages]]:
    return sorted(((job, job.pages) for job in jobs if job.pages), key=lambda pair: pair[1].path_prefix)
