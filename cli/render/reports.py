"""A job's reports as tables: links, line coverage by file, code quality issues. Their texts come from the job."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from rich.style import Style
from rich.table import Table
from rich.text import Text

from cli.render.phrases import percent
from cli.render.tables import NO_CHILDREN, plain_table
from protocol.display import clean, hyperlink
from protocol.reports import CodeQuality, JobReports, LineCoverage, Link
from protocol.views import RunView

SEVERITY_COLORS = {"blocker": "red", "critical": "red", "major": "yellow", "minor": "cyan"}


def report_tables(reports: JobReports) -> Iterator[Table]:
    """The lists of one job's reports."""
    if reports.links:
        yield _links_table(("", link) for link in reports.links)
    if reports.lines is not None and reports.lines.worst:
        yield _coverage_table(reports.lines)
    if reports.quality is not None and reports.quality.issues:
        yield _issues_table(reports.quality)


def links_table(run: RunView, children: Mapping[int, RunView] = NO_CHILDREN) -> Table | None:
    """The links of a run's jobs, and those of the runs that they have started; None without any."""
    links = [
        (job.name if each is run else f"{job.name} (run {each.id})", link)
        for each in (run, *children.values())
        for stage in each.stages
        for job in stage.jobs
        if job.reports is not None
        for link in job.reports.links
    ]
    return _links_table(links) if links else None


def _links_table(links: Iterable[tuple[str, Link]]) -> Table:
    rows = list(links)
    with_jobs = any(job for job, _ in rows)
    table = plain_table(*(("Job",) if with_jobs else ()), "Link", "To")
    for job, link in rows:
        address = hyperlink(link.url)
        style = Style(link=address) if address else Style()
        title = f"{link.group}: {link.title}" if link.group else link.title
        target = clean(link.url) if link.url else "artifacts: " + ", ".join(map(clean, link.paths))
        cells = (Text(clean(title), style=style), Text(target, style=style))
        table.add_row(*((Text(clean(job)),) if with_jobs else ()), *cells)
    return table


def _coverage_table(lines: LineCoverage) -> Table:
    table = plain_table("Coverage", "Lines", "File")
    for file in lines.worst:
        table.add_row(percent(file.covered, file.total), f"{file.covered}/{file.total}", Text(clean(file.path)))
    _add_rest(table, lines.files - len(lines.worst), "files with more coverage")
    _add_rest(table, lines.outside, "files outside the project, left out")
    return table


def _issues_table(quality: CodeQuality) -> Table:
    table = plain_table("Severity", "Place", "Issue")
    for issue in quality.issues:
        check = f" ({issue.check})" if issue.check else ""
        table.add_row(
            Text(clean(issue.severity), style=SEVERITY_COLORS.get(issue.severity, "")),
            Text(clean(f"{issue.path}:{issue.line}")),
            Text(clean(issue.description + check)),
        )
    _add_rest(table, sum(quality.counts.values()) - len(quality.issues), "more issues")
    return table


def _add_rest(table: Table, count: int, what: str) -> None:
    if count > 0:
        table.add_row("", "", f"and {count} {what}")
