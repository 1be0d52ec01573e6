"""A job's reports as tables: links, line coverage by file, code quality issues. Their texts come from the job."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping

from rich.style import Style
from rich.table import Table
from rich.text import Text

from cli.render.tables import NO_CHILDREN, plain_table
from protocol.display import clean, hyperlink
from protocol.reports import CodeQuality, JobReports, LineCoverage, Link
from protocol.views import RunView

SEVERITY_COLORS = {"blocker": "red", "critical": "red", "major": "yellow", "minor": "cyan"}


def report_tables(run: int, job: str, reports: JobReports) -> Iterator[Table]:
    """The lists of the reports of a run's job."""
    if reports.links:
        table = plain_table("Link", "To")
        for link in reports.links:
            table.add_row(*_link_cells(run, job, link))
        yield table
    if reports.lines is not None and reports.lines.worst:
        yield _coverage_table(reports.lines)
    if reports.quality is not None and reports.quality.issues:
        yield _issues_table(reports.quality)


def links_table(run: RunView, children: Mapping[int, RunView] = NO_CHILDREN) -> Table | None:
    """The links of a run's jobs, and those of the runs that they have started; None without any."""
    links = [
        (each.id, job.name, link)
        for each in (run, *children.values())
        for stage in each.stages
        for job in stage.jobs
        if job.reports is not None
        for link in job.reports.links
    ]
    if not links:
        return None
    table = plain_table("Job", "Link", "To")
    for number, job, link in links:
        name = job if number == run.id else f"{job} (run {number})"
        table.add_row(Text(clean(name)), *_link_cells(number, job, link))
    return table


def _link_cells(run: int, job: str, link: Link) -> tuple[Text, Text]:
    """A link's title and target; to artifacts leads the command that fetches them."""
    address = hyperlink(link.url)
    style = Style(link=address) if address else Style()
    title = f"{link.group}: {link.title}" if link.group else link.title
    names = " ".join(shlex.quote(clean(name)) for name in (job, *link.paths))
    target = clean(link.url) if link.url else f"longshore artifacts {run} {names} -o DIR"
    return Text(clean(title), style=style), Text(target, style=style)


def _coverage_table(lines: LineCoverage) -> Table:
    table = plain_table("Coverage", "Lines", "File")
    for file in lines.worst:
        table.add_row(file.percent, f"{file.covered}/{file.total}", Text(clean(file.path)))
    _add_rest(table, lines.files - len(lines.worst), "files with more coverage")
    _add_rest(table, lines.outside, "files outside the project, left out")
    return table


def _issues_table(quality: CodeQuality) -> Table:
    table = plain_table("Severity", "Place", "Issue")
    for issue in quality.issues:
        check = f" ({issue.check})" if issue.check and issue.check not in issue.description else ""
        table.add_row(
            Text(clean(issue.severity), style=SEVERITY_COLORS.get(issue.severity, "")),
            Text(clean(f"{issue.path}:{issue.line}")),
            Text(clean(issue.description + check)),
        )
    _add_rest(table, quality.total - len(quality.issues), "more issues")
    return table


def _add_rest(table: Table, count: int, what: str) -> None:
    if count > 0:
        table.add_row("", "", f"and {count} {what}")
