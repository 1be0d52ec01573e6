"""Stops environments by playing the jobs of `environment:on_stop`. Pure.

The run of such a job has usually ended and continues just for it. A parent that has waited for that run does not: what
came after it would run again.
"""

from __future__ import annotations

from collections.abc import Mapping

from coordinator.engine.client_commands import ClientCommands
from coordinator.engine.environments import Environments
from coordinator.engine.ledger import Ledger
from coordinator.engine.state import EnvironmentState, JobState, RunState
from protocol.errors import ProtocolError
from protocol.statuses import ENDED, EnvironmentStatus
from protocol.statuses import ExecutionStatus as S

NAMES_SHOWN = 10
STARTABLE = ENDED | {S.MANUAL, S.SCHEDULED}
"""Statuses of jobs that can be started out of turn."""


class EnvironmentStops:
    """Stops environments on request, and when they are due."""

    def __init__(self, ledger: Ledger, environments: Environments, commands: ClientCommands) -> None:
        self._ledger = ledger
        self._environments = environments
        self._commands = commands

    def find(self, name: str, project: str | None) -> EnvironmentState:
        """The environment of that name that is not stopped. Raises ProtocolError if there is none, or several."""
        known = self._ledger.environments.values()
        found = [each for each in known if each.name == name and project in (None, each.project)]
        if len(found) == 1:
            return found[0]
        if found:
            projects = ", ".join(sorted(each.project for each in found)[:NAMES_SHOWN])
            raise ProtocolError("bad_request", f"several projects have an environment {name!r}: name one of {projects}")
        names = sorted(each.name for each in known if project in (None, each.project))
        others = f"; there are {', '.join(names[:NAMES_SHOWN])}" if names else ""
        raise ProtocolError("not_found", f"no environment {name!r} is deployed{others}")

    def stop(self, environment: EnvironmentState, finished: Mapping[int, RunState]) -> int:
        """Plays the jobs that stop an environment; without any, it is stopped at once. Returns their number.

        Raises ProtocolError if it is being stopped already, or if one of the jobs can't be played yet.
        """
        if environment.status is EnvironmentStatus.STOPPING:
            raise ProtocolError("bad_request", f"environment {environment.name!r} is being stopped already")
        run, jobs = self._jobs(environment, finished)
        for job in jobs:
            if job.status not in STARTABLE:
                raise ProtocolError(
                    "bad_request",
                    f"environment {environment.name!r} is stopped by job {job.plan.name!r} of run {job.run_id}, which "
                    f"is {job.status.value} ({job.pending_reason or 'under way'}): try again when it can be played",
                )
        self._stop(environment, run, jobs, "")
        return len(jobs)

    def stop_when_due(self, environment: EnvironmentState, finished: Mapping[int, RunState]) -> None:
        """As `stop`, but an environment whose jobs can't be played yet stays due."""
        run, jobs = self._jobs(environment, finished)
        if any(job.status not in STARTABLE for job in jobs):
            return
        self._environments.no_longer_due(environment)
        self._stop(environment, run, jobs, "its time was up (auto_stop_in)")

    def _stop(self, environment: EnvironmentState, run: RunState | None, jobs: list[JobState], why: str) -> None:
        if run is None or not jobs:
            lacks = [f"run {environment.deployment.run} has no job {name}" for name in environment.stop_jobs]
            self._environments.stopped(environment, "; ".join(filter(None, [why, *lacks])) or None)
            return
        text = f"stops environment {environment.name}" + (f": {why}" if why else "")
        for job in jobs:
            self._commands.start_now(run, job, None, text)

    def _jobs(
        self, environment: EnvironmentState, finished: Mapping[int, RunState]
    ) -> tuple[RunState | None, list[JobState]]:
        """The jobs that stop an environment, and their run, as far as they exist."""
        id = environment.deployment.run
        run = self._ledger.runs.get(id) or finished.get(id)
        if run is None:
            return None, []
        jobs = {job.plan.name: job for stage in run.stages for job in stage.jobs}
        return run, [jobs[name] for name in environment.stop_jobs if name in jobs]
