"""Indexes and counts over one run's jobs, and the combined outcome of the jobs before a job. Pure.

Derived from RunState alone, so it is never stored. The rules are those of GitLab's pipeline processing: see "needs",
"when" and "allow_failure" in its CI/CD YAML reference.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from enum import Enum

from coordinator.engine.state import JobState, RunState
from protocol.statuses import AT_WORKER, ENDED
from protocol.statuses import ExecutionStatus as S


class Outcome(Enum):
    """The combined outcome of a set of jobs, for the jobs after them."""

    OPEN = "open"
    SUCCESS = "success"
    FAILED = "failed"
    CANCELED = "canceled"
    SKIPPED = "skipped"


class Part(str, Enum):
    """One job's contribution to an outcome. A str for its cheap hash: parts are counted constantly."""

    OPEN = "open"  # not ended yet
    BLOCKING = "blocking"  # a manual job that must be played
    WELL = "well"  # success, or an allowed failure or cancellation
    FAILED = "failed"
    CANCELED = "canceled"
    MISSING = "missing"  # skipped, or an optional manual job


def part_of(job: JobState) -> Part:
    """A job's contribution in its current state."""
    status, tolerated = job.status, job.plan.allow_failure or job.allowed_to_fail
    if status is S.SUCCESS or (tolerated and status in (S.FAILED, S.CANCELED)):
        return Part.WELL
    if status is S.MANUAL:
        return Part.MISSING if job.plan.allow_failure else Part.BLOCKING
    if status in ENDED:
        return {S.FAILED: Part.FAILED, S.CANCELED: Part.CANCELED}.get(status, Part.MISSING)
    return Part.OPEN


def is_open(job: JobState) -> bool:
    """Whether the job keeps its stage from completing."""
    return part_of(job) in (Part.OPEN, Part.BLOCKING)


def outcome_of(parts: Mapping[Part, int], *, needs: bool = False) -> Outcome:
    """The outcome of counted parts. With `needs`, a job that did not run makes it SKIPPED, as in GitLab."""
    if parts.get(Part.OPEN) or parts.get(Part.BLOCKING):
        return Outcome.OPEN
    if parts.get(Part.FAILED):
        return Outcome.FAILED
    if parts.get(Part.CANCELED):
        return Outcome.CANCELED
    if parts.get(Part.MISSING) and (needs or not parts.get(Part.WELL)):
        return Outcome.SKIPPED
    return Outcome.SUCCESS


class Tally:
    """Running counts of a set of jobs by status and part, maintained by one call per change."""

    def __init__(self, jobs: Iterable[JobState] = ()) -> None:
        self.statuses: Counter[S] = Counter()
        self.parts: Counter[Part] = Counter()
        for job in jobs:
            self.add(job.status, part_of(job), 1)

    def add(self, status: S, part: Part, sign: int) -> None:
        """Counts a job with this status and part in (1) or out (-1)."""
        self.statuses[status] += sign
        self.parts[part] += sign

    @property
    def open(self) -> int:
        """The number of jobs that have not ended and are not optional."""
        return self.parts[Part.OPEN] + self.parts[Part.BLOCKING]

    def outcome(self) -> Outcome:
        """The combined outcome of the jobs."""
        return outcome_of(self.parts)

    def status(self, *, canceling: bool = False) -> S:
        """The status of a stage or run that consists of these jobs."""
        outcome = self.outcome()
        if outcome is not Outcome.OPEN:
            return S.CANCELED if canceling and outcome is not Outcome.SUCCESS else S(outcome.value)
        begun = any(self.statuses[status] for status in ENDED)
        if any(self.statuses[status] for status in AT_WORKER):
            return S.RUNNING
        if self.statuses[S.PENDING]:
            return S.RUNNING if begun else S.PENDING
        if self.statuses[S.SCHEDULED]:  # before MANUAL: it continues by itself
            return S.SCHEDULED
        if self.parts[Part.BLOCKING]:
            return S.MANUAL
        return S.RUNNING if begun else S.CREATED

    def warnings(self) -> bool:
        """Whether a job with allowed failure has failed."""
        return self.statuses[S.FAILED] > self.parts[Part.FAILED]

    def counts(self) -> dict[str, int]:
        """The number of jobs per status; zeros left out."""
        return {status.value: n for status, n in self.statuses.items() if n}


class RunIndex:
    """One run's jobs by name, their dependents, and running counts."""

    def __init__(self, run: RunState) -> None:
        self.run = run
        self.jobs: list[JobState] = [job for stage in run.stages for job in stage.jobs]
        self.by_name: dict[str, JobState] = {job.plan.name: job for job in self.jobs}
        self.dependents: dict[str, list[JobState]] = {}
        for job in self.jobs:
            for need in job.plan.needs or ():
                self.dependents.setdefault(need.job, []).append(job)
        self._left: dict[int, list[JobState]] = {}  # by stage, until one of its jobs changes
        self.total = Tally(self.jobs)
        self.stages = [Tally(stage.jobs) for stage in run.stages]
        self.current_stage = next((i for i, tally in enumerate(self.stages) if tally.open), len(self.stages))

    def count(self, job: JobState, sign: int) -> None:
        """Counts a job in or out of all tallies: out (-1) before a change of the job, in (1) after it."""
        status, part = job.status, part_of(job)
        for tally in (self.total, self.stages[job.stage_index]):
            tally.statuses[status] += sign
            tally.parts[part] += sign
        self._left.pop(job.stage_index, None)

    def _leaving(self, stage_index: int) -> list[JobState]:
        """Jobs of a stage with artifacts or dotenv variables; cached, as every job of later stages asks for them."""
        found = self._left.get(stage_index)
        if found is None:
            jobs = self.run.stages[stage_index].jobs
            found = [job for job in jobs if job.attempt and (job.attempt.artifacts or job.attempt.dotenv)]
            self._left[stage_index] = found
        return found

    def needs_of(self, job: JobState) -> list[JobState]:
        """The jobs named in the job's `needs`."""
        return [self.by_name[need.job] for need in job.plan.needs or ()]

    def before(self, job: JobState) -> Outcome:
        """The combined outcome of the jobs that this one waits for: its needs, or all earlier stages."""
        if job.plan.needs is not None:
            return outcome_of(Counter(part_of(need) for need in self.needs_of(job)), needs=True)
        earlier: Counter[Part] = Counter()
        for tally in self.stages[: job.stage_index]:
            earlier.update(tally.parts)
        return outcome_of(earlier)

    def artifact_sources(self, job: JobState) -> list[JobState]:
        """Jobs whose artifacts are unpacked into the job's workspace, in plan order.

        If the job names none: all jobs of earlier stages that have artifacts or dotenv variables.
        """
        plan = job.plan
        if plan.needs is not None:
            names = {need.job for need in plan.needs if need.artifacts}
            if plan.dependencies is not None:
                names &= set(plan.dependencies)
        elif plan.dependencies is not None:
            names = set(plan.dependencies)
        else:
            return [source for index in range(job.stage_index) for source in self._leaving(index)]
        sources = (self.by_name[name] for name in names if name in self.by_name)
        return sorted(sources, key=lambda source: (source.stage_index, source.id))


def dependents_again(jobs: list[JobState], chosen: list[JobState]) -> list[JobState]:
    """`chosen` and the dependents that must run again with them, in plan order.

    Jobs that need one of them by name always run again; jobs merely in a later stage, unless they succeeded.
    """
    again = {job.plan.name for job in chosen}
    first_stage = min(job.stage_index for job in chosen)
    grown = True
    while grown:
        grown = False
        for job in jobs:
            if job.plan.name in again or job.status not in ENDED:
                continue
            needs = job.plan.needs
            if needs is not None:
                hit = any(need.job in again for need in needs)
            else:
                hit = job.stage_index > first_stage and job.status is not S.SUCCESS
            if hit:
                again.add(job.plan.name)
                grown = True
    return [job for job in jobs if job.plan.name in again]
