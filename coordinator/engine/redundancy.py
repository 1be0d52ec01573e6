"""`interruptible`: a newer commit of the same branch makes older runs redundant (workflow:auto_cancel). Pure."""

from __future__ import annotations

from coordinator.engine.flow import Flow
from coordinator.engine.ledger import Ledger
from coordinator.engine.state import RunState


def cancel_redundant(new: RunState, ledger: Ledger, flow: Flow) -> None:
    """Cancels what a new run makes redundant, as each older run has chosen."""
    for run in list(ledger.runs.values()):
        if run.id == new.id or run.plan.project != new.plan.project or not run.source.sha:
            continue
        if run.source.ref != new.source.ref or run.source.sha == new.source.sha or run.canceling:
            continue
        jobs = ledger.indexes[run.id].jobs
        policy = run.plan.auto_cancel_on_new_commit
        if policy == "interruptible":
            for job in jobs:
                if job.plan.interruptible:
                    flow.cancel_job(job, f"run {new.id} has a newer commit")
        elif policy == "conservative" and any(job.plan.interruptible for job in jobs):
            begun = [job for job in jobs if job.started_at is not None and not job.plan.interruptible]
            if not begun:
                flow.cancel_run(run, f"run {new.id} has a newer commit")
