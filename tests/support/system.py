"""Builders for tests that run whole systems: repositories, processes, and what they leave behind.

Everything goes through the command line, as a user's script would; most of its processes are forked (`forking`).
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import docker
from docker.models.containers import Container

from protocol.client import Client
from protocol.statuses import WorkerStatus
from protocol.views import JobView, RunView
from tests.support import forking
from tests.support.eventually import DEADLINE, eventually

LONGSHORE = Path(sys.executable).parent / "longshore"


def repository(folder: Path, files: Mapping[str, str]) -> Path:
    """A git repository with one commit of `files`; those that begin with `#!` are executable."""
    folder.mkdir(parents=True)
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        if content.startswith("#!"):
            path.chmod(0o755)
    commit_all(folder)
    return folder


def commit_all(folder: Path) -> None:
    """Makes a folder a git repository on branch `main`, if it is none, and commits all that is in it."""
    for command in (
        ["init", "-q", "-b", "main"],
        ["add", "-A"],
        ["-c", "user.email=dev@example.com", "-c", "user.name=Dev", "commit", "-q", "-m", "First commit"],
    ):
        subprocess.run(["git", "-c", "maintenance.auto=false", *command], cwd=folder, check=True, capture_output=True)


@dataclass(frozen=True, slots=True)
class Done:
    """How a command ended."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Its one JSON document on stdout."""
        return json.loads(self.out)


@dataclass(slots=True)
class Process:
    """A longshore process that goes on."""

    name: str
    popen: subprocess.Popen[bytes] | forking.Forked
    log: Path
    out: Path

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self.popen.kill()
        self.popen.wait()

    def terminate(self, within: float = 20.0) -> int:
        """SIGTERM, and its exit status."""
        self.popen.terminate()
        return self.popen.wait(within)

    def interrupt(self) -> None:
        """Ctrl-C."""
        self.popen.send_signal(signal.SIGINT)

    def printed(self) -> str:
        """What it has written to stdout so far; it has to go on."""
        assert self.popen.poll() is None, self.said
        return self.out.read_text().strip()

    @property
    def said(self) -> str:
        """What it has written to stderr so far."""
        return self.log.read_text(errors="replace")


@dataclass(slots=True)
class System:
    """One coordinator with its workers and clients, all kept in one folder."""

    folder: Path
    address: str | None = None
    processes: list[Process] = field(default_factory=list)
    extra: dict[str, str] = field(default_factory=dict)  # environment variables above all others

    def environment(self) -> dict[str, str]:
        """What every process of this system gets."""
        chosen = {key: value for key, value in os.environ.items() if not key.startswith(("LONGSHORE_", "CI"))}
        chosen |= {"LONGSHORE_STATE": str(self.folder / "state"), "LONGSHORE_CONFIG": os.devnull, "TERM": "dumb"}
        if self.address:
            chosen["LONGSHORE_COORDINATOR"] = self.address
        return chosen | self.extra

    def command(self, *arguments: str, cwd: Path | None = None, within: float = DEADLINE) -> Done:
        """Runs `longshore ARGUMENTS` to its end."""
        command, environment = [str(LONGSHORE), *arguments], self.environment()
        if forking.can_fork(command, environment):
            done = forking.run(command, cwd=cwd or self.folder, environment=environment, within=within)
        else:
            done = subprocess.run(
                command,
                cwd=cwd or self.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=within,
                check=False,
            )
        return Done(done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))

    def start(self, *arguments: str, cwd: Path | None = None, name: str = "") -> Process:
        """Starts `longshore ARGUMENTS` and leaves it running."""
        name = name or f"{arguments[0]}-{len(self.processes)}"
        return self.spawn([str(LONGSHORE), *arguments], name, cwd=cwd or self.folder)

    def spawn(
        self,
        command: list[str],
        name: str,
        *,
        cwd: Path,
        environment: Mapping[str, str] | None = None,
        namespace: str | None = None,
    ) -> Process:
        """Starts a process, in a network namespace if one is given; what it logs is added to the file of its name."""
        log, out = self.folder / f"{name}.log", self.folder / f"{name}.out"
        environment = self.environment() | dict(environment or {})
        popen: subprocess.Popen[bytes] | forking.Forked
        module, arguments = ("cli", command) if command[0] == str(LONGSHORE) else ("", command)
        if command[:2] == [sys.executable, "-m"]:
            module, arguments = command[2], command[2:]
        with log.open("ab") as stderr, out.open("wb") as stdout, open(os.devnull, "rb") as stdin:
            if module and forking.can_fork(command, environment):
                popen = forking.fork(
                    arguments,
                    module=module,
                    cwd=cwd,
                    environment=environment,
                    stdin=stdin.fileno(),
                    stdout=stdout.fileno(),
                    stderr=stderr.fileno(),
                    namespace=namespace,
                )
            else:
                command = ["ip", "netns", "exec", namespace, *command] if namespace else command
                popen = subprocess.Popen(command, cwd=cwd, env=environment, stdin=stdin, stdout=stdout, stderr=stderr)
        process = Process(name, popen, log, out)
        self.processes.append(process)
        return process

    def start_coordinator(self) -> Process:
        """Starts the coordinator, at the same address as before if there was one."""
        process = self.start("coordinator", "--bind", self.address or "tcp://127.0.0.1:0", name="coordinator")
        self.address = eventually(process.printed)
        return process

    @property
    def coordinator_id(self) -> str:
        """The coordinator's lasting id, which all that it makes in Docker is labelled with, whether it runs or not."""
        database = self.folder / "state" / "longshore.db"
        assert database.exists(), "no coordinator has ever been here"
        with contextlib.closing(sqlite3.connect(database)) as rows:
            ((found,),) = rows.execute("SELECT value FROM meta WHERE key = 'coordinator_id'").fetchall()
        return str(found)

    def start_worker(self, name: str, *arguments: str) -> Process:
        """Starts a worker of this name."""
        assert self.address is not None
        return self.start("worker", "--coordinator", self.address, "--name", name, *arguments, name=name)

    def wait_for_workers(self, count: int) -> None:
        """Until so many workers are online."""
        with self.client() as client:
            eventually(lambda: sum(each.status is WorkerStatus.ONLINE for each in client.workers()) == count)

    def workers(self) -> list[dict[str, Any]]:
        """What `workers --json` prints."""
        return list(self.command("workers", "--json").json)

    def run(self, project: Path, *arguments: str, within: float = DEADLINE) -> Done:
        """`longshore run --json` in a repository."""
        return self.command("run", "--json", *arguments, cwd=project, within=within)

    def submit(self, project: Path, *arguments: str) -> int:
        """`longshore run -d`: the id of a run that goes on."""
        done = self.command("run", "-d", *arguments, cwd=project)
        assert done.status == 0, done.err
        return int(done.out)

    def show(self, run: int) -> dict[str, Any]:
        """What `show RUN --json` prints."""
        done = self.command("show", str(run), "--json")
        assert done.status == 0, done.err
        return dict(done.json)

    def finished(self, run: int, *, within: float = DEADLINE) -> dict[str, Any]:
        """The run, once it has ended."""
        if self.address is None:  # embedded: whoever serves the state directory now
            return eventually(lambda: (view := self.show(run))["finished_at"] and view, within=within, every=0.2)
        eventually(lambda: self.view(run).finished_at, within=within)
        return self.show(run)

    def client(self, timeout: float = DEADLINE) -> Client:
        """A connection to the coordinator, or to whoever serves the state directory: cheap enough to ask often."""
        place = self.folder / "state" / "coordinator.json"
        if self.address is None:
            eventually(place.exists)
        return Client(self.address or json.loads(place.read_text())["address"], timeout=timeout)

    def view(self, run: int) -> RunView:
        """The run as it stands, asked of the coordinator directly."""
        with self.client() as client:
            return client.get_run(run)

    def job(self, run: int, name: str) -> JobView:
        """A job of it, asked in the same way."""
        return next(each for stage in self.view(run).stages for each in stage.jobs if each.name == name)

    def status(self, run: int, job: str) -> str:
        """A job's status, asked in the same way."""
        return str(self.job(run, job).status)

    def logged(self, run: int, job: str) -> str:
        """What a job has printed so far, asked in the same way."""
        with self.client() as client:
            return client.get_log(run, job)[1].decode(errors="replace")

    def log(self, run: int, job: str) -> str:
        """A job's whole log."""
        done = self.command("logs", str(run), job)
        assert done.status == 0, done.err
        return done.out

    def stop(self) -> None:
        """Ends all processes, the youngest first, and one in the background if there is one.

        Removes the networks of workers that were killed and that no other daemon came after.
        """
        coordinator = None
        with contextlib.suppress(AssertionError):
            coordinator = self.coordinator_id
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            os.kill(json.loads((self.folder / "state" / "coordinator.json").read_text())["pid"], signal.SIGTERM)
        for process in reversed(self.processes):
            if process.popen.poll() is None:
                process.popen.terminate()
        for process in reversed(self.processes):
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.popen.wait(DEADLINE)
                continue
            process.kill()
        if coordinator:
            with contextlib.closing(docker.from_env()) as client:
                for holder in holders(client, coordinator):
                    holder.remove(force=True)


def jobs_of(run: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """A run's jobs by name."""
    return {job["name"]: job for stage in run["stages"] for job in stage["jobs"]}


def statuses(run: Mapping[str, Any]) -> dict[str, str]:
    """A run's jobs' statuses by name."""
    return {name: job["status"] for name, job in jobs_of(run).items()}


def running(client: docker.DockerClient, coordinator: str, run: int, job: str | None = None) -> list[Container]:
    """The containers of a run, or of one job of it, that run now."""
    labels: list[str] = [f"longshore.coordinator={coordinator}", f"longshore.run={run}"]
    if job is not None:
        labels.append(f"longshore.job={job}")
    return list(client.containers.list(ignore_removed=True, filters={"label": labels}))


UNTIL_TOLD = "until [ -e /told ]; do sleep 0.05; done"
"""A command of a job that goes on until it is told to end."""


def tell(client: docker.DockerClient, coordinator: str, run: int, job: str = "job") -> None:
    """Lets a job of a run come to the end of UNTIL_TOLD."""
    (container,) = running(client, coordinator, run, job)
    assert container.exec_run(["touch", "/told"]).exit_code == 0


def nobody_serves(system: System) -> bool:
    """Whether no coordinator serves the system's state directory."""
    return not (system.folder / "state" / "coordinator.json").exists()


def leftovers(client: docker.DockerClient, coordinator: str) -> list[str]:
    """Containers, networks and volumes that were made for runs of a coordinator and are still there."""
    label = f"longshore.coordinator={coordinator}"
    containers = client.containers.list(all=True, ignore_removed=True, filters={"label": label})
    return [
        *(str(container.name) for container in containers if container.labels["longshore.role"] != "network"),
        *(str(network.name) for network in client.networks.list(filters={"label": label})),
        *(str(volume.name) for volume in client.volumes.list(filters={"label": label})),
    ]


def holders(client: docker.DockerClient, coordinator: str) -> list[Container]:
    """The containers that hold networks for jobs of a coordinator's workers."""
    labels = [f"longshore.coordinator={coordinator}", "longshore.role=network"]
    return list(client.containers.list(all=True, ignore_removed=True, filters={"label": labels}))
