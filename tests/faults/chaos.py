"""Random faults on a real fleet, from a seed: `python -m tests.faults.chaos --seconds 60 --seed 7`, or `make chaos`.

Runs are submitted by the command line all the while; processes are killed, stopped and suspended, links are cut,
delayed and made to lose packets, runs are canceled, containers killed. Then everything is mended, and what must be true
is checked. The schedule is a function of the seed (what a fault meets is not: processes are not that tame).
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

import docker
from docker.errors import APIError, NotFound

from protocol.errors import LongshoreError
from protocol.statuses import UNFINISHED
from tests.faults import invariants
from tests.faults.engine_events import EngineEvents
from tests.faults.fleet import Fleet, Member, compilers_of
from tests.faults.invariants import Findings, Submitted
from tests.faults.network import NoNamespaces, network
from tests.faults.pipelines import make, make_parent
from tests.support.system import Done, repository

SUBMIT_WITHIN = 90.0
"""Seconds that `longshore run -d` may take while the coordinator comes and goes."""
END_WITHIN = 120.0
"""Seconds after the last fault within which every run has to end."""
CLEAN_WITHIN = 30.0
"""Seconds after that within which Docker has to be as it was."""
EXPECTED_ENDS = (None, 0, -signal.SIGKILL, -signal.SIGTERM)
"""Exit codes of processes that go on, or that the faults have ended."""
DUMP_SECONDS = 2.0
"""What processes get to write down what they are at."""
PARENTS = 0.4
"""Share of runs that start others."""
MOST_UNFINISHED = 4
"""Runs at a time: more only wait for slots."""


@dataclass(slots=True)
class Chaos:
    """One session of faults. `say` gets a line for each."""

    fleet: Fleet
    engine: docker.DockerClient
    chance: random.Random
    say: Callable[[str], None]
    began: float = field(default_factory=time.monotonic)
    runs: dict[int, Submitted] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    repairs: list[tuple[float, Callable[[], object]]] = field(default_factory=list)  # (when, what)
    submitters: list[threading.Thread] = field(default_factory=list)
    killed: set[str] = field(default_factory=set)  # attempts whose containers were killed
    count: int = 0

    # what clients do

    def submit(self) -> None:
        """A client submits a run; it may take its time while there is no coordinator."""
        pipeline = make_parent(self.chance) if self.chance.random() < PARENTS else make(self.chance)
        self.count += 1
        project = repository(
            self.fleet.folder / f"project-{self.count}", {".gitlab-ci.yml": pipeline.text, **pipeline.files}
        )
        remote = ["git", "remote", "add", "origin", f"https://git.example.com/chaos/{len(pipeline.files)}.git"]
        subprocess.run(remote, cwd=project, check=True)  # two projects: their runs build on each other's packs
        others = []
        for number, (name, files) in enumerate(pipeline.projects.items()):
            others += ["--project", f"{name}={repository(self.fleet.folder / f'other-{self.count}-{number}', files)}"]

        def submit() -> None:
            done: Done = self.fleet.command("run", "-d", *others, cwd=project, within=SUBMIT_WITHIN)
            if done.status == 0:
                self.runs[int(done.out)] = Submitted(pipeline)
            elif done.status != 4:
                self.wrong.append(f"`run -d` ended with {done.status}: {done.err}")

        thread = threading.Thread(target=submit)
        thread.start()
        self.submitters.append(thread)

    def unfinished(self) -> list[int] | None:
        """The runs that go on; None if the coordinator does not answer just now."""
        try:
            with self.fleet.client(2) as client:
                return [run.id for run in client.list_runs() if run.status in UNFINISHED]
        except LongshoreError:
            return None

    # faults

    def kill_coordinator(self) -> str:
        coordinator = self.fleet.coordinator
        if coordinator is None or coordinator.popen.poll() is not None:
            return ""
        coordinator.kill()
        away = self.chance.choice([0.0, 0.5, 3.0, 8.0])
        self.later(away, self.fleet.start_coordinator)
        return f"kill -9 the coordinator for {away} s"

    def suspend_coordinator(self) -> str:
        coordinator = self.fleet.coordinator
        if coordinator is None or coordinator.popen.poll() is not None:
            return ""
        seconds = self.chance.choice([0.5, 3.0, 7.0])
        self.suspend(coordinator.popen.pid, seconds)
        return f"suspend the coordinator for {seconds} s"

    def kill_worker(self) -> str:
        member = self.some_worker()
        if member is None or member.process is None:
            return ""
        member.process.kill()
        away = self.chance.choice([0.0, 1.0, 4.0, 9.0])
        self.later(away, lambda: self.revive(member))
        return f"kill -9 {member.name} for {away} s"

    def stop_worker(self) -> str:
        member = self.some_worker()
        if member is None or member.process is None:
            return ""
        popen = member.process.popen
        popen.terminate()
        patience = self.chance.choice([1.0, 2.0])  # what comes sooner is the same press

        def again() -> None:
            if popen.poll() is None:
                popen.terminate()
            self.later(1.0, start)

        def start() -> None:
            if popen.poll() is None:
                self.later(0.5, start)
            else:
                self.revive(member)

        self.later(patience, again)
        return f"SIGTERM {member.name}, and again after {patience} s"

    def suspend_worker(self) -> str:
        member = self.some_worker()
        if member is None or member.process is None:
            return ""
        seconds = self.chance.choice([1.0, 4.0, 8.0, 10.0])
        self.suspend(member.process.popen.pid, seconds)
        return f"suspend {member.name} for {seconds} s"

    def kill_compiler(self) -> str:
        """Kills a compiler of a child pipeline, whose job fails; whose run that is is not known."""
        if self.fleet.coordinator is None:
            return ""
        found = compilers_of(self.fleet.coordinator.popen.pid)
        if not found:
            return ""
        for run in self.runs.values():
            run.touched = run.touched or bool(run.pipeline.children)
        with suppress(ProcessLookupError):
            os.kill(found[0], signal.SIGKILL)
        return f"kill -9 the compiler {found[0]}"

    def cut_link(self) -> str:
        links = [m for m in self.fleet.members.values() if m.link is not None]
        if not links:
            return ""
        member = self.chance.choice(links)
        assert member.link is not None
        seconds = self.chance.choice([0.5, 3.0, 8.0, 12.0])
        kind = self.chance.choice(["both ways", "to the coordinator", "from the coordinator", "slow and lossy"])
        if kind == "slow and lossy":
            member.link.shape(delay=0.2, loss=0.05)
        else:
            member.link.cut(up=kind != "from the coordinator", down=kind != "to the coordinator")
        self.later(seconds, member.link.heal)
        return f"link of {member.name} {kind} for {seconds} s"

    def cancel(self) -> str:
        unfinished = self.unfinished()
        known = [run for run in unfinished or [] if run in self.runs]
        if not known:
            return ""
        run = self.chance.choice(known)
        self.runs[run].touched = True
        with suppress(LongshoreError), self.fleet.client(5) as client:
            client.cancel(run)
        return f"cancel run {run}"

    def kill_container(self) -> str:
        with self.fleet.client(5) as client:
            label = f"longshore.coordinator={client.welcome.coordinator}"
        found = self.engine.containers.list(ignore_removed=True, filters={"label": [label, "longshore.role=job"]})
        mine = [c for c in found if int(c.labels["longshore.run"]) in self.runs]
        if not mine:
            return ""
        container = self.chance.choice(mine)
        self.runs[int(container.labels["longshore.run"])].touched = True
        self.killed.add(container.labels["longshore.attempt"])
        with suppress(APIError, NotFound):
            container.kill()
        return f"docker kill {container.name}"

    # helpers

    def some_worker(self) -> Member | None:
        """One that is alive, leaving at least one that is."""
        alive = [member for member in self.fleet.members.values() if member.alive]
        return self.chance.choice(alive) if len(alive) > 1 else None

    def revive(self, member: Member) -> None:
        """Starts a worker again, unless another fault's repair has."""
        if not member.alive:
            self.fleet.restart(member)

    def suspend(self, pid: int, seconds: float) -> None:
        os.kill(pid, signal.SIGSTOP)

        def resume() -> None:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

        self.later(seconds, resume)

    def later(self, seconds: float, repair: Callable[[], object]) -> None:
        self.repairs.append((time.monotonic() + seconds, repair))

    def pass_time(self, until: float) -> None:
        """Sleeps, and ends faults whose time is up."""
        while (now := time.monotonic()) < until:
            due = [repair for repair in self.repairs if repair[0] <= now]
            self.repairs = [repair for repair in self.repairs if repair[0] > now]
            for _, repair in due:
                repair()
            time.sleep(0.05)

    def dump(self) -> None:
        """Has all processes write into their logs what they are at, and writes down what Docker has of them."""
        for process in self.fleet.processes:
            if process.popen.poll() is None:
                os.kill(process.popen.pid, signal.SIGUSR1)
        label = f"longshore.coordinator={self.fleet.coordinator_id}"
        with (self.fleet.folder / "docker.txt").open("a") as file:
            for container in self.engine.containers.list(all=True, ignore_removed=True, filters={"label": label}):
                with suppress(APIError, NotFound):
                    file.write(f"{container.name}: {container.attrs['State']}\n{container.top()}\n")
                with suppress(APIError, NotFound):
                    file.write(f"{container.logs(tail=20)!r}\n")
        time.sleep(DUMP_SECONDS)

    # the session

    def run(self, seconds: float) -> None:
        """Faults and runs, for so long."""
        faults = [
            *(2 * [self.kill_coordinator]),
            *(3 * [self.kill_worker]),
            self.suspend_coordinator,
            *(2 * [self.suspend_worker]),
            self.stop_worker,
            *(2 * [self.cut_link]),
            self.cancel,
            self.kill_container,
            self.kill_compiler,
        ]
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            unfinished = self.unfinished()
            waiting = sum(thread.is_alive() for thread in self.submitters)
            if unfinished is not None and len(unfinished) + waiting < MOST_UNFINISHED:
                self.submit()
            self.pass_time(min(end, time.monotonic() + self.chance.uniform(0.2, 2.5)))
            fault = self.chance.choice(faults)
            with suppress(LongshoreError):
                if told := fault():
                    self.say(f"{time.monotonic() - self.began:6.1f} s  {told}")

    def settle(self) -> None:
        """Mends everything and waits until all runs have ended."""
        self.say("everything is mended; all runs have to end now")
        self.repairs.clear()
        self.fleet.mend()
        for thread in self.submitters:
            thread.join()
        deadline = time.monotonic() + END_WITHIN
        while (left := self.unfinished()) != [] and time.monotonic() < deadline:
            self.fleet.mend()  # a worker that was asked to stop ends only now
            time.sleep(0.2)
        if left != []:
            self.dump()
        for run in left or []:
            with self.fleet.client() as client:
                view = client.get_run(run)
            jobs = {n: j for n, j in invariants.jobs_of(view).items() if j.status in UNFINISHED}
            reasons = [f"{name} is {job.status} on {job.worker}: {job.pending_reason}" for name, job in jobs.items()]
            self.wrong.append(f"run {run} hangs: {'; '.join(reasons)}")

    def check(self, events: EngineEvents) -> Findings:
        """All that must be true."""
        findings = Findings(self.wrong)
        with self.fleet.client() as client:
            coordinator = client.welcome.coordinator
            for run, submitted in sorted(self.runs.items()):
                invariants.check_run(client, run, submitted, findings)
        deadline = time.monotonic() + CLEAN_WITHIN
        while (
            left := list(invariants.check_leftovers(self.engine, coordinator, self.fleet.folder))
        ) and time.monotonic() < deadline:
            self.fleet.mend()
            time.sleep(0.2)
        database = self.fleet.state / "longshore.db"
        ends = ((process.name, process.popen.poll()) for process in self.fleet.processes)
        findings.wrong += [
            *(f"{name} ended by itself, with {code}" for name, code in ends if code not in EXPECTED_ENDS),
            *left,
            *invariants.check_engine(events, database, self.killed),
            *invariants.check_database(database),
        ]
        if findings.wrong:
            self.dump()
        return findings


def session(folder: Path, seed: int, seconds: float, *, say: Callable[[str], None], workers: int = 3) -> Findings:
    """One session in a folder of its own. What is wrong is in its findings."""
    with ExitStack() as stack:
        try:
            net = stack.enter_context(network())
        except NoNamespaces as error:
            say(f"no network faults: {error}")
            net = None
        engine = stack.enter_context(closing(docker.from_env()))
        fleet = Fleet(folder, network=net)
        stack.callback(fleet.stop)
        fleet.start_coordinator()
        events = EngineEvents(engine, fleet.coordinator_id)
        stack.callback(events.close)
        for number in range(workers):
            fleet.add_worker(f"w{number}", slots=2, isolated=number > 0)
        fleet.wait_for_workers(workers)
        chaos = Chaos(fleet, engine, random.Random(seed), say)
        try:
            chaos.run(seconds)
            chaos.settle()
            return chaos.check(events)
        finally:
            remove_all(engine, fleet)


def remove_all(engine: docker.DockerClient, fleet: Fleet) -> None:
    """Leaves nothing to the next session, whatever went wrong in this one."""
    coordinator = fleet.coordinator_id
    fleet.stop()
    label: dict[str, str | list[str] | bool] = {"label": f"longshore.coordinator={coordinator}"}
    for container in engine.containers.list(all=True, ignore_removed=True, filters=label):
        with suppress(APIError):
            container.remove(force=True, v=True)
    for bridge in engine.networks.list(filters=label):
        with suppress(APIError):
            bridge.remove()
    for volume in engine.volumes.list(filters=label):
        with suppress(APIError):
            volume.remove()


def main() -> int:
    """Exits with 1 if something was wrong; the folder with all logs and the database is kept then."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long faults happen; checking comes on top")
    parser.add_argument("--seed", type=int, default=None, help="what the schedule is made of; default: a new one")
    options = parser.parse_args()
    seed = random.SystemRandom().randrange(1 << 32) if options.seed is None else options.seed
    folder = Path(tempfile.mkdtemp(prefix="longshore-chaos-"))
    print(f"SEED={seed} SECONDS={options.seconds:g}, in {folder}", flush=True)
    told: list[str] = []

    def say(line: str) -> None:
        told.append(line)
        print(line, flush=True)

    found = session(folder, seed, options.seconds, say=say)
    print(f"{found.runs} runs, {found.attempts} attempts, {found.log_bytes} bytes of logs were looked at")
    if not found.wrong:
        print("nothing was lost")
        shutil.rmtree(folder)
        return 0
    problems = [f"WRONG: {problem}" for problem in found.wrong]
    (folder / "wrong.txt").write_text("\n".join([*told, *problems]) + "\n")
    print("\n".join(problems))
    print(f"again with: make chaos SECONDS={options.seconds:g} SEED={seed}; logs and database: {folder}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
