"""Assigns jobs to workers, and explains why a job has none yet. Pure.

Runnable jobs wait in one queue per set of tags, oldest run first. A job whose needs are at workers is assigned ahead of
them, to be held ready (`waiting`), if a worker has room. `resource_group` locks are taken before a job queues, so the
oldest waiting job always gets the lock next.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable

from coordinator.engine.assignments import assignment
from coordinator.engine.child_requests import child_request, completed
from coordinator.engine.ledger import Ledger
from coordinator.engine.origins import brought_along, origin_of
from coordinator.engine.run_index import is_open
from coordinator.engine.state import NO_INPUTS, AttemptState, JobState, WorkerState, goes_to_worker
from protocol import messages as m
from protocol.job_inputs import current
from protocol.statuses import AT_WORKER, FailureReason
from protocol.statuses import ExecutionStatus as S

ANY_TAG = "*"
"""Label of a worker that takes jobs with any tags, unless another worker carries the tags by name."""

Place = tuple[int, int, int]
Lock = tuple[str, str]


def place_in_line(job: JobState) -> Place:
    """The sort key of a job: run, then stage, then position in the pipeline file."""
    return job.run_id, job.stage_index, job.id


class Scheduler:
    """Assigns pending jobs to workers. `run` is called once per turn."""

    def __init__(self, ledger: Ledger, *, log_limit: int, lease: float) -> None:
        self._ledger = ledger
        self._log_limit = log_limit
        self._lease = lease
        self._queues: dict[tuple[str, ...], list[Place]] = {}
        self._reasons: dict[tuple[str, ...], str] = {}
        self._queued: dict[int, float] = {}  # job id -> monotonic time since when it is queued
        self._fresh: list[JobState] = []
        self._holdable: dict[int, JobState] = {}
        self._locks: dict[Lock, int] = {}
        self._lent: dict[Lock, list[int]] = {}  # jobs whose child run has a lock of theirs, the topmost first
        self._parked: dict[Lock, list[Place]] = {}
        self._dirty = True

    def wake(self) -> None:
        """Requests a scheduling pass: a worker came, left, or has room."""
        self._dirty = True

    # queues and locks

    def enqueue(self, job: JobState) -> None:
        """Queues a runnable job, or parks it until its lock is free.

        A job that starts a run asks for its plan; one that needs something of other pipelines asks for that first.
        """
        lock = self._lock_of(job)
        if lock and not self._take(lock, job):
            heapq.heappush(self._parked.setdefault(lock, []), place_in_line(job))
            self._explain_lock(job, lock)
            return
        self._holdable.pop(job.id, None)
        if job.plan.trigger is not None:
            self._request_child(job)
            return
        if job.plan.mirrors or (job.plan.external_needs and job.external is None):
            self._look_up(job)
            return
        heapq.heappush(self._queues.setdefault(tuple(sorted(job.plan.tags)), []), place_in_line(job))
        self._queued[job.id] = self._ledger.now.mono
        self._fresh.append(job)
        self._dirty = True

    def withdraw(self, job: JobState) -> None:
        """Removes a job that has ended or must not be assigned; its lock passes to the next job."""
        self._queued.pop(job.id, None)
        self._holdable.pop(job.id, None)
        lock = self._lock_of(job)
        if lock and job.id in self._lent.get(lock, ()):
            self._lent[lock].remove(job.id)
        if lock and self._locks.get(lock) == job.id:
            del self._locks[lock]
            if lent := self._lent.get(lock):
                self._locks[lock] = lent.pop()
            self._pass_on(lock)

    def _pass_on(self, lock: Lock) -> None:
        """Gives a lock to the next job that waits for it and may have it."""
        parked = self._parked.pop(lock, [])
        waiting = [job for place in sorted(parked) if (job := self._ledger.jobs.get(place[-1])) is not None]
        for job in waiting:
            if job.status is S.PENDING:
                self.enqueue(job)

    def _take(self, lock: Lock, job: JobState) -> bool:
        """Takes a lock that is free, or lent by the job that waits for this job's run: it could wait for ever."""
        holder = self._ledger.jobs.get(self._locks.setdefault(lock, job.id))
        if holder is None or holder is job:
            self._locks[lock] = job.id
        elif self._waits_for(holder, job):
            self._lent.setdefault(lock, []).append(holder.id)
            self._locks[lock] = job.id
        else:
            return False
        return True

    def _waits_for(self, upper: JobState, job: JobState) -> bool:
        """Whether a job waits for the end of the run that another one belongs to, or of one above that."""
        above = self._ledger.parent_of(self._ledger.run_of(job))
        return above is not None and (above is upper or self._waits_for(upper, above))

    def take_lock(self, job: JobState) -> None:
        """Restores the lock of a job at a worker, or of one that waits for a child run, after a restart."""
        if lock := self._lock_of(job):
            self._take(lock, job)

    def consider_holding(self, job: JobState) -> None:
        """Registers a job that waits for its needs, if it can be held ready ahead of them."""
        if self._may_be_held(job):
            self._holdable[job.id] = job
            self._dirty = True
        else:
            self._holdable.pop(job.id, None)

    def queued_since(self) -> dict[int, float]:
        """Queued jobs by id, with the monotonic time since when they are queued."""
        return self._queued

    # assignment

    def run(self) -> None:
        """Assigns all jobs that can be assigned now, and sets the pending reasons of the rest."""
        if not self._dirty:
            return
        self._dirty = False
        for tags, queue in self._queues.items():
            self._hand_out(tags, queue)
        self._hand_out_ahead()
        if not self._queued:
            self._call_back_for_idle_workers()
        self._fresh.clear()

    def _hand_out(self, tags: tuple[str, ...], queue: list[Place]) -> None:
        if self._next_of(queue) is None:
            self._reasons.pop(tags, None)
            return
        matching = self._takers(tags)
        free = [worker for worker in matching if worker.active < worker.slots]
        while free and (job := self._next_of(queue)) is not None:
            heapq.heappop(queue)
            near, failed_on = self._workers_of_needs(job), _failed_on(job)
            best = max(free, key=lambda w: (w.name not in failed_on, (w.slots - w.active) / w.slots, w.name in near))
            self.notify_worker_job_assigned(job, best, released=True)
            if best.active >= best.slots:
                free.remove(best)
        if not queue:
            self._reasons.pop(tags, None)
            return
        reason = self._why_not(tags, matching)
        if self._reasons.get(tags) != reason:
            self._reasons[tags] = reason
            waiting: Iterable[JobState] = (self._ledger.jobs[p[-1]] for p in queue if p[-1] in self._queued)
        else:
            waiting = (job for job in self._fresh if job.id in self._queued and tuple(sorted(job.plan.tags)) == tags)
        for job in waiting:
            self._ledger.explain(job, reason)

    def _next_of(self, queue: list[Place]) -> JobState | None:
        """The first job of a queue; stale entries before it are removed."""
        while queue:
            job = self._ledger.jobs.get(queue[0][-1])
            if job is not None and job.id in self._queued:
                return job
            heapq.heappop(queue)
        return None

    def _hand_out_ahead(self) -> None:
        """Assigns jobs to be held ready where there is room, those with running needs before those with held ones."""
        roomy = [w for w in self._ledger.workers.values() if w.online and w.held < max(1, w.slots)]
        if not self._holdable or not roomy:
            return
        for job in sorted(self._holdable.values(), key=self._waits_for_held):
            if not self._may_be_held(job):
                del self._holdable[job.id]
                continue
            workers = [w for w in roomy if takes(w, job.plan.tags)]
            if any(ANY_TAG in w.labels for w in workers):
                workers = [w for w in self._takers(job.plan.tags) if w in roomy]
            if workers:
                near = self._workers_of_needs(job)
                best = max(workers, key=lambda w: (w.name in near, -w.held, w.slots - w.active))
                self.notify_worker_job_assigned(job, best, released=False)
                if best.held >= max(1, best.slots):
                    roomy.remove(best)
            if not roomy:
                return

    def notify_worker_job_assigned(self, job: JobState, worker: WorkerState, *, released: bool) -> None:
        """Creates or reuses the job's attempt, attaches it to the worker and sends the assignment."""
        self._queued.pop(job.id, None)
        self._holdable.pop(job.id, None)
        attempt = job.attempt
        if attempt is None or attempt.worker:
            attempt = self._ledger.new_attempt(job)
        attempt.released = released
        attempt.assigned_at = self._ledger.now.wall
        attempt.inputs = current(job.plan, job.inputs) if job.plan.inputs else NO_INPUTS
        self._ledger.attach(worker, attempt)
        self._ledger.tell(job, f"assigned to {worker.name}" + ("" if released else ", to be held ready"))
        self._ledger.explain(job, f"assigned to {worker.name}, which has not accepted it yet")
        self._ledger.touch_job(job)
        self.send_assignment(job, attempt)

    def send_assignment(self, job: JobState, attempt: AttemptState) -> None:
        """Sends or resends an assignment; a worker ignores one for an attempt that it already has."""
        attempt.sent_mono = self._ledger.now.mono
        self._ledger.send(attempt.worker, m.AssignJob(assignment=self.assignment_of(job, attempt)))

    def assignment_of(self, job: JobState, attempt: AttemptState) -> m.Assignment:
        """The complete assignment of an attempt."""
        index = self._ledger.index_of(job)
        return assignment(job, attempt, index, log_limit=self._log_limit, lease=self._lease)

    def _request_child(self, job: JobState) -> None:
        """Opens the attempt of a job that starts a run, and asks for the run's plan."""
        attempt, index, trigger = self._ledger.open_attempt(job), self._ledger.index_of(job), job.plan.trigger
        request = child_request(job, index)
        other = trigger.project if trigger is not None else ""
        origin = brought_along(index.run, other) if other else origin_of(index.run)
        self._ledger.compile_child(attempt, completed(request, origin) if origin is not None else request, origin)
        what = f"the pipeline of {other}" if other else "its child pipeline"
        self._ledger.explain(job, f"{what} is being compiled")

    def _look_up(self, job: JobState) -> None:
        """Asks for what a job needs of other pipelines."""
        if job.plan.mirrors:
            self._ledger.open_attempt(job)
        self._ledger.look_up(job)
        self._ledger.explain(job, "what it needs of other pipelines is being looked for")

    def better_place(self, job: JobState, worker: WorkerState) -> bool:
        """Whether another worker could start the job at once, while this one has no free slot."""
        if worker.active < worker.slots:
            return False
        return any(other.active < other.slots for other in self._takers(job.plan.tags))

    def _call_back_for_idle_workers(self) -> None:
        idle = [w for w in self._ledger.workers.values() if w.online and not w.draining and w.active < w.slots]
        if not idle:
            return
        room = sum(w.slots - w.active for w in idle)
        for worker in self._ledger.workers.values():
            surplus = worker.active - worker.slots
            for attempt in reversed(list(worker.attempts.values())):
                if min(surplus, room) <= 0 or not worker.online:
                    break
                found = self._ledger.find_attempt(attempt.id)
                if not found or not attempt.released or attempt.revoking or attempt.canceling:
                    continue
                job = found[0]
                if job.status is not S.RUNNING and any(taker in idle for taker in self._takers(job.plan.tags)):
                    self.revoke(attempt)
                    surplus, room = surplus - 1, room - 1

    def revoke(self, attempt: AttemptState) -> None:
        """Asks a worker to return an attempt that has not begun."""
        attempt.revoking = True
        self._ledger.touch_attempt(attempt)
        self._ledger.send(attempt.worker, m.RevokeJob(attempt=attempt.id))

    # helpers

    def _takers(self, tags: Iterable[str]) -> list[WorkerState]:
        """The workers that take jobs with these tags now; workers with the tags by name displace ANY_TAG ones."""
        takers = [worker for worker in self._ledger.workers.values() if takes(worker, tags)]
        if not tags or not any(ANY_TAG in worker.labels for worker in takers):
            return takers
        return [worker for worker in takers if all(tag in worker.labels for tag in tags)] or takers

    def _explain_lock(self, job: JobState, lock: Lock) -> None:
        holders = [self._ledger.jobs[id] for id in (*self._lent.get(lock, ()), self._locks[lock])]
        holder = next(each for each in holders if not self._waits_for(each, job))
        self._ledger.explain(job, f"resource group {lock[1]!r} is held by run {holder.run_id} ({holder.plan.name})")

    def _lock_of(self, job: JobState) -> Lock | None:
        group = job.plan.resource_group
        return (self._ledger.run_of(job).plan.project, group) if group else None

    def _may_be_held(self, job: JobState) -> bool:
        if job.status is not S.CREATED or not job.plan.needs or job.plan.when != "on_success":
            return False
        if job.plan.resource_group or job.plan.external_needs or not goes_to_worker(job.plan):
            return False
        if self._ledger.holder_of(job.attempt) is not None:
            return False
        return all(
            need.status in AT_WORKER and need.attempt is not None and goes_to_worker(need.plan)
            for need in self._open_needs(job)
        )

    def _waits_for_held(self, job: JobState) -> bool:
        return any(need.attempt is None or not need.attempt.released for need in self._open_needs(job))

    def _open_needs(self, job: JobState) -> list[JobState]:
        return [need for need in self._ledger.index_of(job).needs_of(job) if is_open(need)]

    def _workers_of_needs(self, job: JobState) -> set[str]:
        if not job.plan.needs:
            return set()
        return {need.attempt.worker for need in self._ledger.index_of(job).needs_of(job) if need.attempt}

    def _why_not(self, tags: tuple[str, ...], matching: list[WorkerState]) -> str:
        workers = self._ledger.workers.values()
        online = [worker for worker in workers if worker.online]
        if matching:
            slots = sum(worker.slots for worker in matching)
            return f"all slots busy ({slots} of {len(matching)} {plural('worker', len(matching))})"
        if not online:
            return "no worker is connected"
        fit = [worker for worker in online if has_tags(worker, tags)]
        if fit:
            if all(worker.draining for worker in fit):
                return "all workers that could take it are draining: " + ", ".join(w.name for w in fit)
            return "disk low on " + ", ".join(w.name for w in fit if w.disk_low)
        if not tags:
            return "no worker takes jobs without tags"
        return "no worker has the " + plural("tag", len(tags)) + " " + ", ".join(tags)


def _failed_on(job: JobState) -> set[str]:
    """Workers that have failed the job by themselves (a full disk, a broken engine): a retry prefers others."""
    return {one.worker for one in job.attempts if one.failure_reason is FailureReason.RUNNER_SYSTEM_FAILURE}


def plural(word: str, n: int) -> str:
    """The word in singular or plural for n things."""
    return word if n == 1 else word + "s"


def has_tags(worker: WorkerState, tags: Iterable[str]) -> bool:
    """Whether the worker's labels allow the job; GitLab's rule: all tags, or none and the worker runs untagged jobs."""
    tags = list(tags)
    if not tags:
        return worker.run_untagged
    return ANY_TAG in worker.labels or all(tag in worker.labels for tag in tags)


def takes(worker: WorkerState, tags: Iterable[str]) -> bool:
    """Whether the worker takes jobs with these tags now."""
    return worker.online and not worker.draining and not worker.disk_low and has_tags(worker, tags)
