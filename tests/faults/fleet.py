"""A fleet that faults happen to: a coordinator and workers in processes of their own, workers in namespaces too.

Everything is as a user has it but for the coordinator's patience, which is shortened so that faults that outlast it fit
into a test.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.conftest import ROOT
from tests.faults.network import Link, Network
from tests.support.eventually import eventually
from tests.support.system import LONGSHORE, Process, System

IMPATIENT: dict[str, Any] = {
    "heartbeat": 0.5,
    "offline_after": 2.0,
    "restart_grace": 3.0,
    "lease": 4.0,
    "lease_margin": 2.0,
    "accept_within": 2.0,
}
"""Settings of the engine under which an outage of seconds is what one of minutes is to a real fleet."""


@dataclass(slots=True, eq=False)
class Member:
    """One worker by name, through all its lives."""

    name: str
    slots: int
    link: Link | None = None
    label: str | None = None
    environment: dict[str, str] = field(default_factory=dict)
    process: Process | None = None

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.popen.poll() is None


@dataclass(slots=True)
class Fleet(System):
    """See `System` for what clients do. `network` of None: all workers share the host's network."""

    network: Network | None = None
    settings: dict[str, Any] = field(default_factory=lambda: dict(IMPATIENT))
    coordinator: Process | None = None
    members: dict[str, Member] = field(default_factory=dict)

    @property
    def state(self) -> Path:
        """The coordinator's state directory."""
        return self.folder / "state"

    def start_coordinator(self) -> Process:
        """Starts it, at the same address as before if there was one."""
        host = self.network.address if self.network else "127.0.0.1"
        bind = self.address or f"tcp://{host}:{_free_port(host)}"
        command = [sys.executable, "-m", "tests.faults.coordinator", str(self.state), bind, json.dumps(self.settings)]
        process = self.coordinator = self.spawn(command, "coordinator", cwd=ROOT)
        self.address = eventually(process.printed)
        return process

    def add_worker(
        self, name: str, *, slots: int = 2, isolated: bool = False, label: str | None = None, **environment: str
    ) -> Member:
        """A new worker, started; `isolated` ones have a network of their own."""
        link = self.network.add() if isolated and self.network else None
        member = self.members[name] = Member(name, slots, link, label, environment)
        self.restart(member)
        return member

    def restart(self, member: Member) -> None:
        """Starts the next life of a worker."""
        assert self.address is not None
        command = [str(LONGSHORE), "worker", "--coordinator", self.address]
        command += ["--name", member.name, "--slots", str(member.slots)]
        command += ["--label", member.label] if member.label else []
        namespace = member.link.namespace if member.link else None
        member.process = self.spawn(command, member.name, cwd=ROOT, environment=member.environment, namespace=namespace)

    def mend(self) -> None:
        """Ends all faults: everything runs, nothing is suspended, all links are whole."""
        for member in self.members.values():
            if member.link is not None:
                member.link.heal()
        for process in self.processes:
            if process.popen.poll() is None:
                os.kill(process.popen.pid, signal.SIGCONT)
        if self.coordinator is None or self.coordinator.popen.poll() is not None:
            self.start_coordinator()
        for member in self.members.values():
            if not member.alive:
                self.restart(member)

    def stop(self) -> None:
        """Kills everything: nobody is to be waited for, for nothing that matters is in a process."""
        for process in self.processes:
            if process.popen.poll() is None:
                process.kill()


def compilers_of(coordinator: int) -> list[int]:
    """The compiler processes that a coordinator has started."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended meanwhile
            parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == coordinator and b"compiler" in (path / "cmdline").read_bytes().split(b"\0"):
                found.append(int(path.name))
    return found


def _free_port(host: str) -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])
