"""The verb `tests`: what the tests of the last runs come to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from cli.options.common import Target, coordinator_option, output_option

if TYPE_CHECKING:
    from cli.render.output import Output
    from protocol.client import Client
    from protocol.views import AttemptTests

RUNS = 50
MOST_SLOWEST = 20


@click.command("tests")
@click.option("--flaky", is_flag=True, help="Tests that both passed and failed on the same files.")
@click.option("--slowest", is_flag=True, help=f"The {MOST_SLOWEST} slowest tests.")
@click.option(
    "--runs",
    type=click.IntRange(1, 1000),
    metavar="N",
    default=RUNS,
    show_default=True,
    help="Number of runs, the newest with tests, that are looked at.",
)
@click.option("--branch", metavar="NAME", help="Only runs of this branch or tag.")
@click.option("--project", metavar="NAME", help="Only runs of this project.")
@click.option("--job", metavar="NAME", help="Only tests of jobs of this name.")
@output_option("Print one JSON document instead of a table.")
@coordinator_option
def tests_command(
    where: Target,
    output: Output,
    flaky: bool,
    slowest: bool,
    runs: int,
    branch: str | None,
    project: str | None,
    job: str | None,
) -> None:
    """List the tests that fail now and since when, from the `reports:junit` of the last runs' jobs; or with --flaky or
    --slowest, those tests.
    """
    from cli.session.session import reading_session
    from cli.summary import history
    from cli.summary.rows import test_rows

    with reading_session(where) as session:
        tests = history.histories(_attempts(session.client, runs, project, branch, job))
    if not tests:
        output.note("no results of tests; jobs report them with artifacts:reports:junit")
    chosen = history.flaky(tests) if flaky else tests if slowest else history.failing(tests)
    if slowest:
        chosen = history.slowest(chosen)[:MOST_SLOWEST]
    if tests and not chosen:
        output.note("no test is flaky" if flaky else "no test fails")
    if chosen or not output.for_people:
        output.rows(test_rows(chosen, for_people=output.for_people))


def _attempts(
    client: Client, runs: int, project: str | None, branch: str | None, job: str | None
) -> Iterator[AttemptTests]:
    """The newest attempts with results of tests, of at most so many runs."""
    seen: set[int] = set()
    before: int | None = None
    while True:
        page = client.test_results(project, branch, job, before)
        for attempt in page.attempts:
            seen.add(attempt.run)
            if len(seen) > runs:
                return
            yield attempt
        if not (page.more and page.attempts):
            return
        before = page.attempts[-1].job_id
