"""Where a verb's result goes: as text, for a terminal or plain for a pipe, or as one JSON document.

A verb decides what it prints, an output how. Imports rich only for text, and JSON's views only for JSON.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TextIO

from protocol.messages import JobDetail
from protocol.views import JobView, RunSummary, RunView, WorkerView

if TYPE_CHECKING:
    from rich.console import Console

    from pipeline import Compilation

Details = Mapping[str, JobDetail]
"""Jobs' attempts and events, by the job's name."""
NO_RUNS = "no runs yet; `longshore run` starts one"


def in_words(value: object) -> str:
    """A row's value for people."""
    if isinstance(value, list):
        return " ".join(map(str, value))
    return "" if value is None or value is False else "yes" if value is True else str(value)


class Output(Protocol):
    """One form of output. A verb prints one result."""

    for_people: bool
    """Whether a person reads along, rather than a program."""

    @property
    def logs(self) -> TextIO:
        """The stream for jobs' logs beside the result."""

    def note(self, text: str) -> None:
        """A remark for people about a result, on stderr."""

    def runs(self, runs: Sequence[RunSummary], nothing: str = NO_RUNS) -> None:
        """A list of runs; `nothing` tells people of an empty one."""

    def run(self, run: RunView, children: Mapping[int, RunView]) -> None:
        """A run with its jobs, and with `children` those of the runs that they have started."""

    def job(self, run: RunView, job: JobView, detail: JobDetail) -> None:
        """A job with its attempts."""

    def history(self, run: RunView, details: Details, *, alone: bool) -> None:
        """The events of a run's jobs, or `alone` of the only one."""

    def workers(self, workers: Sequence[WorkerView]) -> None:
        """A list of workers."""

    def plan(self, compilation: Compilation) -> None:
        """A compiled pipeline file."""

    def submitted(self, run: int, view: Callable[[], RunView]) -> None:
        """A run that goes on without us."""

    def ended(self, run: RunView, outcome: Callable[[], dict[str, Any]]) -> None:
        """A run that was followed, and summed up in `logs`; a document of it has the fields of `outcome` too."""

    def document(self, document: dict[str, Any], text: str) -> None:
        """A record, of which only `text` is for people."""

    def rows(self, rows: Sequence[dict[str, Any]], words: Callable[[Any], str] = in_words) -> None:
        """Records with identical keys; people get their values in `words`."""


class TextOutput:
    """Tables and lines; coloured on a terminal, wide enough for all columns in a pipe or file."""

    for_people = True

    @property
    def logs(self) -> TextIO:
        """See Output."""
        return sys.stdout

    def _console(self) -> Console:
        from cli.render.tables import console

        return console(sys.stdout)

    def note(self, text: str) -> None:
        """See Output."""
        sys.stderr.write(text + "\n")

    def runs(self, runs: Sequence[RunSummary], nothing: str = NO_RUNS) -> None:
        """See Output."""
        from cli.render.tables import runs_table

        if runs:
            self._console().print(runs_table(runs))
        else:
            self.note(nothing)

    def run(self, run: RunView, children: Mapping[int, RunView]) -> None:
        """See Output."""
        from cli.render.reports import links_table
        from cli.render.tables import run_headline, run_table

        out = self._console()
        out.print(run_headline(run))
        out.print(run_table(run, children))
        if (links := links_table(run, children)) is not None:
            out.print()
            out.print(links)

    def job(self, run: RunView, job: JobView, detail: JobDetail) -> None:
        """See Output."""
        from cli.render.phrases import job_facts, job_note
        from cli.render.reports import report_tables
        from cli.render.tables import attempts_table

        out = self._console()
        out.print(f"{job.name}: {job.status}  {job_note(job)}", markup=False)
        out.print(attempts_table(detail))
        for line in job_facts(job, detail):
            out.print(line, markup=False)
        for table in report_tables(run.id, job.name, detail.reports) if detail.reports is not None else ():
            out.print()
            out.print(table)

    def history(self, run: RunView, details: Details, *, alone: bool) -> None:
        """See Output."""
        from cli.render.tables import story_table

        self._console().print(story_table(details.items()))

    def workers(self, workers: Sequence[WorkerView]) -> None:
        """See Output."""
        from cli.render.tables import workers_table

        if workers:
            self._console().print(workers_table(workers))
        else:
            self.note("no worker has ever connected; `longshore worker --coordinator ADDRESS` adds one")

    def plan(self, compilation: Compilation) -> None:
        """See Output."""
        from cli.render.plan_text import print_plan

        print_plan(compilation, self._console())

    def submitted(self, run: int, view: Callable[[], RunView]) -> None:
        """See Output. Its id is all that a script needs."""
        print(run, flush=True)

    def ended(self, run: RunView, outcome: Callable[[], dict[str, Any]]) -> None:
        """See Output."""

    def document(self, document: dict[str, Any], text: str) -> None:
        """See Output."""
        print(text, flush=True)

    def rows(self, rows: Sequence[dict[str, Any]], words: Callable[[Any], str] = in_words) -> None:
        """See Output."""
        if not rows:
            self.note("none yet")
            return
        from cli.render.tables import rows_table

        self._console().print(rows_table(rows, words))


class JsonOutput:
    """One JSON document on stdout, as docs/schemas/ say; nothing for people."""

    for_people = False

    @property
    def logs(self) -> TextIO:
        """See Output."""
        return sys.stderr

    def note(self, text: str) -> None:
        """See Output."""

    def runs(self, runs: Sequence[RunSummary], nothing: str = NO_RUNS) -> None:
        """See Output."""
        from cli.render.json_views import print_json, summary_json

        print_json([summary_json(run) for run in runs])

    def run(self, run: RunView, children: Mapping[int, RunView]) -> None:
        """See Output."""
        from cli.render.json_views import print_json, run_json

        print_json(run_json(run))

    def job(self, run: RunView, job: JobView, detail: JobDetail) -> None:
        """See Output."""
        self.history(run, {job.name: detail}, alone=True)

    def history(self, run: RunView, details: Details, *, alone: bool) -> None:
        """See Output."""
        from cli.render.json_views import job_detail_json, print_json

        documents = [
            job_detail_json(run.id, stage.name, job, details[job.name])
            for stage in run.stages
            for job in stage.jobs
            if job.name in details
        ]
        print_json(documents[0] if alone else documents)

    def workers(self, workers: Sequence[WorkerView]) -> None:
        """See Output."""
        from cli.render.json_views import print_json, worker_json

        print_json([worker_json(worker) for worker in workers])

    def plan(self, compilation: Compilation) -> None:
        """See Output."""
        from cli.render.json_views import print_json
        from cli.render.plan_json import plan_json

        print_json(plan_json(compilation))

    def submitted(self, run: int, view: Callable[[], RunView]) -> None:
        """See Output."""
        self.run(view(), {})

    def ended(self, run: RunView, outcome: Callable[[], dict[str, Any]]) -> None:
        """See Output."""
        from cli.render.json_views import print_json, run_json

        print_json(run_json(run) | outcome())

    def document(self, document: dict[str, Any], text: str) -> None:
        """See Output."""
        from cli.render.json_views import print_json

        print_json(document)

    def rows(self, rows: Sequence[dict[str, Any]], words: Callable[[Any], str] = in_words) -> None:
        """See Output."""
        from cli.render.json_views import print_json

        print_json(list(rows))
