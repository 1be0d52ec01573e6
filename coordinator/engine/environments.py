"""Environments: what a job's end makes of the environment that it names, and which are due to be stopped. Pure.

An environment is that of its last deployment. Only jobs that begin after it stop it, and only those of its run or of a
newer one: a stop job of an older run, or one under way during a new deployment, does not.
"""

from __future__ import annotations

from collections.abc import Iterable

from coordinator.engine.ledger import Ledger
from coordinator.engine.state import EnvironmentState, JobState, Now
from coordinator.engine.views import environment_address
from protocol.plan import EnvironmentSpec
from protocol.statuses import EnvironmentStatus
from protocol.statuses import ExecutionStatus as S
from protocol.views import Deployment


class Environments:
    """Follows the jobs with `environment`. Has all environments that are not stopped."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def restore(self, environments: Iterable[EnvironmentState]) -> None:
        """Takes up environments from the store after a start; the runs must have been restored."""
        for environment in environments:
            self._ledger.environments[environment.key] = environment
            if environment.auto_stop_at is not None:
                self._continue_by_our_clock(environment, self._ledger.now)
            lost = [id for id in environment.stopping if id not in self._ledger.jobs]
            if lost:  # the store could not read their run
                self._stay(environment, "the run of its stop job can't be read")

    def due(self) -> list[EnvironmentState]:
        """The environments whose time has come, the first one first."""
        found = [
            environment
            for environment in self._ledger.environments.values()
            if environment.status is EnvironmentStatus.AVAILABLE
            and environment.auto_stop_mono is not None
            and environment.auto_stop_mono <= self._ledger.now.mono
        ]
        return sorted(found, key=lambda environment: environment.auto_stop_mono or 0.0)

    def job_begins(self, job: JobState) -> None:
        """A job may run from now on: if it is to stop an environment, that is being stopped."""
        spec, environment = job.plan.environment, self._of(job)
        if spec is None or environment is None or spec.action != "stop":
            return
        if job.run_id >= environment.deployment.run and job.id not in environment.stopping:
            environment.stopping.append(job.id)
            environment.status = EnvironmentStatus.STOPPING
            environment.message = None
            self._ledger.touch_environment(environment)

    def job_ended(self, job: JobState) -> None:
        """A job has ended: it may have deployed to an environment, used it, or stopped it."""
        spec, environment = job.plan.environment, self._of(job)
        if spec is None:
            return
        if spec.action == "stop":
            if environment is not None and job.id in environment.stopping:
                self._stop_job_ended(environment, job)
        elif job.status is S.SUCCESS and spec.action == "start":
            self._deployed(job, spec)
        elif job.status is S.SUCCESS and spec.action in ("prepare", "access") and environment is not None:
            self._renew(environment, spec.auto_stop_in or environment.auto_stop_in)

    def stopped(self, environment: EnvironmentState, message: str | None) -> None:
        """An environment is stopped: its jobs have done it, or it has none."""
        environment.status = EnvironmentStatus.STOPPED
        environment.stopping = []
        environment.auto_stop_at = environment.auto_stop_mono = environment.auto_stop_boot = None
        environment.stopped_at = self._ledger.now.wall
        environment.message = message
        self._ledger.touch_environment(environment)
        del self._ledger.environments[environment.key]

    def no_longer_due(self, environment: EnvironmentState) -> None:
        """Its time has come and it is taken care of, once."""
        environment.auto_stop_at = environment.auto_stop_mono = environment.auto_stop_boot = None
        self._ledger.touch_environment(environment)

    def _of(self, job: JobState) -> EnvironmentState | None:
        spec = job.plan.environment
        project = self._ledger.run_of(job).plan.project
        return self._ledger.environments.get((project, spec.name)) if spec is not None else None

    def _deployed(self, job: JobState, spec: EnvironmentSpec) -> None:
        run = self._ledger.run_of(job)
        source = run.source
        deployment = Deployment(
            run=run.id, job=job.plan.name, ref=source.ref, sha=source.sha, at=job.finished_at or self._ledger.now.wall
        )
        last = self._of(job)
        environment = EnvironmentState(
            project=run.plan.project, name=spec.name, slug=spec.slug, tier=spec.tier, deployment=deployment
        )
        environment.url = environment_address(job, self._ledger.index_of(job)) or (last.url if last else "")
        others = last.stop_jobs if last is not None and last.deployment.run == run.id else []
        environment.stop_jobs = list(dict.fromkeys([*others, *([spec.on_stop] if spec.on_stop else [])]))
        self._ledger.environments[environment.key] = environment
        self._renew(environment, spec.auto_stop_in)
        self._ledger.tell(job, f"deployed to environment {spec.name}")

    def _renew(self, environment: EnvironmentState, seconds: float | None) -> None:
        """Counts the time until it is to be stopped from now on."""
        now = self._ledger.now
        environment.auto_stop_in = seconds
        if seconds is not None:
            environment.auto_stop_at, environment.auto_stop_mono = now.wall + seconds, now.mono + seconds
            environment.auto_stop_boot = now.boot
        self._ledger.touch_environment(environment)

    def _stop_job_ended(self, environment: EnvironmentState, job: JobState) -> None:
        if job.status is not S.SUCCESS:
            self._stay(environment, f"job {job.plan.name} of run {job.run_id}, which stops it, is {job.status.value}")
            return
        environment.stopping.remove(job.id)
        self._ledger.touch_environment(environment)
        if not environment.stopping:
            self.stopped(environment, f"by job {job.plan.name} of run {job.run_id}")
            self._ledger.tell(job, f"stopped environment {environment.name}")

    def _stay(self, environment: EnvironmentState, message: str) -> None:
        environment.status = EnvironmentStatus.AVAILABLE
        environment.stopping = []
        environment.message = message
        self._ledger.touch_environment(environment)

    def _continue_by_our_clock(self, environment: EnvironmentState, now: Now) -> None:
        """Continues by the monotonic clock; by the wall clock only after a reboot."""
        if environment.auto_stop_mono is None or not now.boot or environment.auto_stop_boot != now.boot:
            left = max(0.0, (environment.auto_stop_at or now.wall) - now.wall)
            environment.auto_stop_mono, environment.auto_stop_boot = now.mono + left, now.boot
            self._ledger.touch_environment(environment)
