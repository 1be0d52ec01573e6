"""Many workers and jobs while processes are killed: `python -m benchmarks.load --workers 200 --jobs 10000`.

The daemons are real, with virtual containers; the coordinator is the command line's. Every job must end exactly once,
consistent with its dependencies, with its complete log. Prints the figures; exits with 1 if anything was lost.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from benchmarks.fleet import LONGSHORE, Fleet, scratch
from benchmarks.virtual import doubles
from protocol.client import Client
from protocol.errors import LongshoreError
from protocol.plan import JobPlan, Need, Plan
from protocol.statuses import ENDED
from protocol.statuses import ExecutionStatus as S

JOBS_PER_RUN = 50
WORKERS_PER_PROCESS = 20
END_WITHIN = 300.0
"""Seconds after the last kill."""
DOWN_SECONDS = (0.0, 0.5, 2.0)


@dataclass(slots=True)
class Load:
    """The submitted runs, and their expected outcomes."""

    plans: list[Plan] = field(default_factory=list)
    wanted: list[dict[str, S]] = field(default_factory=list)

    @property
    def jobs(self) -> int:
        return sum(len(plan.jobs) for plan in self.plans)


def make_load(jobs: int, chance: random.Random) -> Load:
    """Runs of jobs of up to half a second; each needs up to three others, one in forty fails."""
    load = Load()
    for first in range(0, jobs, JOBS_PER_RUN):
        planned: list[JobPlan] = []
        wanted: dict[str, S] = {}
        for number in range(min(JOBS_PER_RUN, jobs - first)):
            earlier = [job.name for job in planned[-10:]]
            needs = chance.sample(earlier, min(len(earlier), chance.choice([0, 1, 1, 2, 3])))
            code = int(chance.random() < 1 / 40)
            script = [f"{chance.uniform(0.0, 0.5):.3f} {code}"]
            name = f"job {number}"
            planned.append(JobPlan(name=name, stage="test", script=script, needs=[Need(job=n) for n in needs]))
            if any(wanted[need] is not S.SUCCESS for need in needs):
                wanted[name] = S.SKIPPED
            else:
                wanted[name] = S.FAILED if code else S.SUCCESS
        load.plans.append(Plan(name="", project="load", project_dir="/builds/load", stages=["test"], jobs=planned))
        load.wanted.append(wanted)
    return load


@dataclass(slots=True)
class Killer:
    """Kills a process now and then, and restarts it a little later."""

    fleet: Fleet
    chance: random.Random
    workers: list[list[str]]  # the command of each worker process
    bind: str
    kills: int = 0
    restarts: list[tuple[float, Callable[[], None]]] = field(default_factory=list)
    alive: dict[int, int] = field(default_factory=dict)  # index of the worker process -> process in the fleet
    coordinator: int = 0
    ended: set[int] = field(default_factory=set)  # processes known to have ended
    surprises: list[str] = field(default_factory=list)

    def start_workers(self, index: int) -> None:
        """Starts a worker process, or restarts it."""
        self.fleet.start(self.workers[index], f"workers-{index}")
        self.alive[index] = len(self.fleet.processes) - 1

    def start_coordinator(self) -> None:
        """Restarts the coordinator at its address."""
        self.fleet.start([LONGSHORE, "coordinator", "--bind", self.bind], "coordinator")
        self.coordinator = len(self.fleet.processes) - 1

    def work(self, seconds: float) -> None:
        """Kills and restarts for this long."""
        end = time.monotonic() + seconds
        kill_at = time.monotonic() + 1.0
        while time.monotonic() <= end or self.restarts:
            now = time.monotonic()
            due = [restart for restart in self.restarts if restart[0] <= now]
            self.restarts = [restart for restart in self.restarts if restart[0] > now]
            for _, restart in due:
                restart()
            self._record_exits()
            if kill_at <= now < end:
                kill_at = now + self.chance.uniform(0.5, 3.0)
                self._kill_one(now)
            time.sleep(0.05)

    def _record_exits(self) -> None:
        """Records processes that ended without being killed."""
        for number, process in enumerate(self.fleet.processes):
            if number not in self.ended and process.poll() is not None:
                self.ended.add(number)
                self.surprises.append(f"process {number} exited by itself with status {process.returncode}")

    def _kill_one(self, now: float) -> None:
        back = now + self.chance.choice(DOWN_SECONDS)
        if self.chance.random() < 0.25:
            victim, restart = self.coordinator, self.start_coordinator
        else:
            index = self.chance.randrange(len(self.workers))
            victim, restart = self.alive[index], lambda: self.start_workers(index)
        process = self.fleet.processes[victim]
        if process.poll() is None:
            process.kill()
            process.wait()
            self.ended.add(victim)
            self.kills += 1
            self.restarts.append((back, restart))


def patiently(address: str, ask: Callable[[Client], object]) -> object:
    """The result of `ask`, retried while the coordinator is away."""
    deadline = time.monotonic() + END_WITHIN
    while True:
        try:
            with Client(address, timeout=20.0) as client:
                return ask(client)
        except LongshoreError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def check(address: str, load: Load, runs: list[int]) -> list[str]:
    """Deviations from the expected outcomes."""
    wrong = []
    with Client(address, timeout=60.0) as client:
        for run, wanted in zip(runs, load.wanted, strict=True):
            view = client.get_run(run)
            for job in (job for stage in view.stages for job in stage.jobs):
                if job.status is not wanted[job.name]:
                    wrong.append(f"run {run}, {job.name}: {job.status} ({job.message}), not {wanted[job.name]}")
                elif job.status is not S.SKIPPED and client.get_log(run, job.name)[1] != f"{job.name}\n".encode():
                    wrong.append(f"run {run}, {job.name}: wrong log")
    return wrong


def run_load(workers: int, jobs: int, seconds: float, seed: int) -> list[str]:
    """Runs the whole load test; prints the figures, and returns the deviations."""
    chance = random.Random(seed)
    load = make_load(jobs, chance)
    with scratch() as folder:
        fleet = Fleet(folder)
        try:
            fleet.start_coordinator()
            names = [f"virtual-{number}" for number in range(workers)]
            commands = [
                [
                    *(sys.executable, "-m", "benchmarks.virtual_workers", "--coordinator", fleet.address),
                    *("--directory", str(folder), *names[first : first + WORKERS_PER_PROCESS]),
                ]
                for first in range(0, workers, WORKERS_PER_PROCESS)
            ]
            killer = Killer(fleet, chance, commands, fleet.address)
            for index in range(len(commands)):
                killer.start_workers(index)
            begun = time.monotonic()
            runs: list[int] = []
            with Client(fleet.address, timeout=60.0) as client:
                runs += [client.submit_run(plan, token=f"load-{n}") for n, plan in enumerate(load.plans)]
            killer.work(seconds)
            killed_until = time.monotonic()

            def unfinished(client: Client) -> list[int]:
                return [run.id for run in client.list_runs(1000) if run.status not in ENDED]

            while left := patiently(fleet.address, unfinished):
                killer.work(0.0)
                if time.monotonic() > killed_until + END_WITHIN:
                    return [f"runs hang: {left}", *killer.surprises]
                time.sleep(0.5)
            took = time.monotonic() - begun
            wrong = check(fleet.address, load, runs)
            twice = doubles(folder / "engine")
            wrong += [*(f"attempt {attempt} was released twice" for attempt in twice), *killer.surprises]
            peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
            print(
                f"{load.jobs} jobs in {len(runs)} runs on {workers} workers, {killer.kills} processes killed in "
                f"{seconds:.0f} s: all ended after {took:.1f} s ({load.jobs / took:.0f} jobs/s), the last "
                f"{took - (killed_until - begun):.1f} s after the last kill; largest process {peak:.0f} MiB; "
                f"{len(wrong)} wrong (seed {seed})"
            )
            return wrong
        finally:
            fleet.stop()


def main() -> int:
    """Exits with 1 if anything was lost."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.load", description=__doc__)
    parser.add_argument("--workers", type=int, default=200)
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(3), "big"))
    options = parser.parse_args()
    wrong = run_load(options.workers, options.jobs, options.seconds, options.seed)
    for problem in wrong[:50]:
        print(f"WRONG: {problem}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
