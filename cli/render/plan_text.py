"""A plan as text: a table of jobs, a dependency graph, and the excluded jobs. Decides nothing."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.tree import Tree

from cli.render.phrases import duration
from pipeline import Compilation
from protocol.plan import JobPlan

MAX_GRAPH_JOBS = 200
"""A larger graph is unreadable."""


def print_plan(compilation: Compilation, console: Console) -> None:
    """Prints the plan's jobs as a table, their dependencies as a graph, and the excluded jobs with reasons."""
    plan = compilation.plan
    if plan.jobs:
        console.print(_table(compilation))
    if any(job.needs for job in plan.jobs) and len(plan.jobs) <= MAX_GRAPH_JOBS:
        console.print()
        console.print(_graph(compilation))
    excluded = [job for job in compilation.jobs if job.excluded]
    if excluded and not compilation.left_out:
        console.print()
        console.print("[bold]Left out[/bold]")
        for job in excluded:
            console.print(f"  {escape(job.name)}: [dim]{escape(job.excluded)}[/dim]")
    if not plan.jobs:
        console.print(f"Nothing would run{other_pipelines(compilation)}.")


def other_pipelines(empty: Compilation) -> str:
    """A hint at pipeline types that commonly have their own jobs; "" if there are no jobs, or a type was given."""
    asked = {variable.key for variable in empty.plan.run_variables} & {"CI_PIPELINE_SOURCE", "CI_COMMIT_TAG"}
    if asked or not empty.jobs:
        return ""
    return (
        "; for a merge request pipeline pass --var CI_PIPELINE_SOURCE=merge_request_event, for a tag pipeline "
        "--var CI_COMMIT_TAG=NAME"
    )


def _table(compilation: Compilation) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="bold")
    for heading in ("STAGE", "JOB", "WHEN", "IMAGE", "WAITS FOR"):
        table.add_column(heading, overflow="fold")
    previous = previous_stage = ""
    for stage in compilation.plan.stages:
        for job in compilation.plan.jobs:
            if job.stage != stage:
                continue
            table.add_row(
                escape(stage if stage != previous else ""),
                escape(job.name),
                _when(job),
                escape(job.image.name if job.image else "-"),
                escape(_waits_for(job, previous_stage)),
            )
            previous = stage
        previous_stage = stage
    return table


def _when(job: JobPlan) -> str:
    words: list[str] = [] if job.when == "on_success" else [job.when]
    if job.when == "delayed":
        words = [f"after {duration(job.start_in)}"]
    if job.trigger is not None:
        words.append(f"starts {job.trigger.project or 'a child pipeline'}")
    if job.mirrors:
        words.append(f"takes the status of {job.mirrors}")
    if job.allow_failure:
        words.append("may fail")
    if job.allow_failure_exit_codes:
        words.append(f"may fail with {', '.join(map(str, job.allow_failure_exit_codes))}")
    return ", ".join(words) or "-"


def _waits_for(job: JobPlan, previous_stage: str) -> str:
    if job.needs is None:
        return f"stage {previous_stage}" if previous_stage else "nothing"
    return ", ".join(need.job for need in job.needs) or "nothing"


def _graph(compilation: Compilation) -> Tree:
    """Each job once, below the last of its needs; the other needs are listed beside it."""
    tree = Tree("[bold]Graph[/bold]: a job starts when those above it are done", guide_style="dim")
    stages = compilation.plan.stages
    jobs = {job.name: job for job in compilation.plan.jobs}
    branches: dict[str, Tree] = {}
    todo = sorted(jobs.values(), key=lambda job: stages.index(job.stage))
    while todo:
        waiting: list[JobPlan] = []
        for job in todo:
            needs = [need.job for need in job.needs or () if need.job in jobs]
            if not all(name in branches for name in needs):
                waiting.append(job)
                continue
            parent = branches[needs[-1]] if needs else tree
            others = f" [dim](and {escape(', '.join(needs[:-1]))})[/dim]" if len(needs) > 1 else ""
            before = stages[: stages.index(job.stage)]
            note = f" [dim]after stage {escape(before[-1])}[/dim]" if job.needs is None and before else ""
            branches[job.name] = parent.add(f"{escape(job.name)}{others}{note}")
        todo = waiting
    return tree
