"""Loads runs from their rows, as the engine knows them."""

from __future__ import annotations

from peewee import Expression

from coordinator.engine.state import RunState
from coordinator.store import rows
from coordinator.store.models import Attempt, Job, OwnWorkspace, Run, RunPlan, RunProjects, RunWorkspace, Stage


def load_runs(query: rows.Query, which: Expression) -> list[RunState]:
    """The runs that `which` selects, oldest first. Raises ValueError, LookupError or TypeError for invalid rows."""
    run_rows = query(Run.select().where(which).order_by(Run.id))
    if not run_rows:  # the queries below scan all jobs: a millisecond per two thousand
        return []
    plans: dict[int, str] = {row[0]: row[1] for row in query(RunPlan.select().join(Run).where(which))}
    workspaces: dict[int, str] = dict(query(RunWorkspace.select().join(Run).where(which)))
    projects: dict[int, str] = dict(query(RunProjects.select().join(Run).where(which)))
    runs = {row[0]: rows.run_of(row, plans[row[0]], workspaces.get(row[0]), projects.get(row[0])) for row in run_rows}
    for row in query(Stage.select().join(Run).where(which).order_by(Stage.run, Stage.position)):
        stage = rows.stage_of(row)
        runs[stage.run_id].stages.append(stage)
    job_plans = {run.id: rows.job_plans(run.plan) for run in runs.values()}
    jobs = {}
    for row in query(Job.select().join(Run).where(which).order_by(Job.id)):
        job = rows.job_of(row, job_plans[row[1]])
        jobs[job.id] = job
        runs[job.run_id].stages[job.stage_index].jobs.append(job)
    for row in query(Attempt.select().join(Job).join(Run).where(which).order_by(Attempt.job, Attempt.number)):
        attempt = rows.attempt_of(row)
        jobs[attempt.job_id].attempts.append(attempt)
    own = OwnWorkspace.select().join(Job).join(Run).where(which)
    for job_id, number, text in query(own):
        files = rows.workspace_of(text) if text else None
        jobs[job_id].own_workspaces = {**jobs[job_id].own_workspaces, number: files}
    for run in runs.values():
        if (there := sum(len(stage.jobs) for stage in run.stages)) != len(run.plan.jobs):
            raise LookupError(f"{there} of its {len(run.plan.jobs)} jobs exist")
    return list(runs.values())
