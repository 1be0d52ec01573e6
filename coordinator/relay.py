"""Relays commands that people run in jobs' containers, between their client and the container's worker.

Keeps no bytes beyond the sockets' queues, which the two ends bound (`protocol/messages/commands.py`), and nothing over
a restart: then both ends hear that their command is unknown, and end it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from uuid import uuid4

import msgspec

from coordinator.engine.engine import Engine
from coordinator.engine.state import Now
from coordinator.transport.router import Peer, Router
from protocol import messages as m
from protocol.errors import ProtocolError
from protocol.views import Capability

MOST_PER_KEY = 100
"""Maximum commands of one key at the same time."""
LONGEST_AUDITED = 200
"""Characters of a command in the audit."""

FROM_CLIENT = (m.CommandInput, m.CommandInputEnd, m.CommandResize, m.CommandSignal, m.CommandClosed)
FROM_WORKER = (m.CommandOutput, m.CommandEnded)
RELAYED = (*FROM_CLIENT, *FROM_WORKER, m.CommandCredit)
"""Messages about a command that has been opened."""

log = logging.getLogger(__name__)

Payload = bytes | memoryview
Send = Callable[[bytes, m.Message, Payload | None], None]


class Command(msgspec.Struct, frozen=True):
    """A command under way: its client's and its worker's connection, and its request, in case that is resent."""

    client: bytes
    worker: bytes
    worker_name: str
    request: int


class Relay:
    """All commands under way, by id."""

    def __init__(self, router: Router, engine: Engine) -> None:
        self._router = router
        self._engine = engine
        self._commands: dict[str, Command] = {}
        self._looked_at = 0.0

    def __len__(self) -> int:
        return len(self._commands)

    def open(self, client: Peer, message: m.OpenCommand, now: Now, send: Send) -> tuple[str, str, str] | None:
        """Has a worker run a command, and answers the client. Returns its audit entry; None for a resent request.

        Raises ProtocolError if the job has no container, or its worker is away or can't run commands.
        """
        for id, known in self._commands.items():
            if known.client == client.route and known.request == message.id:
                send(client.route, m.CommandOpened(id=message.id, command=id, worker=known.worker_name), None)
                return None
        if not all("\0" not in each for each in message.arguments):
            raise ProtocolError("bad_field", "an argument can't contain NUL")
        key = self._router.key_of(client.route) or b""
        if sum(one.client.startswith(key) for one in self._commands.values()) >= MOST_PER_KEY:
            raise ProtocolError("unavailable", f"{MOST_PER_KEY} of your commands run already; end some")
        attempt, name = self._engine.place_of(message.run, message.job)
        worker = self._router.worker(name)
        if worker is None or not self._engine.workers()[name].online:
            raise ProtocolError("unavailable", f"worker {name}, which has the container, is offline")
        if Capability.COMMANDS not in self._engine.workers()[name].executor.capabilities:
            raise ProtocolError("bad_request", f"the executor of worker {name} can't run commands in a job's container")
        id = uuid4().hex
        self._commands[id] = Command(client.route, worker.route, name, message.id)
        send(client.route, m.CommandOpened(id=message.id, command=id, worker=name), None)
        run = m.RunCommand(command=id, attempt=attempt, arguments=message.arguments, terminal=message.terminal)
        send(worker.route, run, None)
        log.info("command opened on %s", name, extra={"run": message.run, "job": message.job, "attempt": attempt})
        detail = " ".join(message.arguments)[:LONGEST_AUDITED]
        return "exec" if message.arguments else "shell", f"run {message.run} job {message.job}", detail

    def pass_on(self, peer: Peer, message: m.Message, payload: Payload, send: Send) -> None:
        """Passes a message of a client or worker on to the other end; tells its sender if there is none."""
        id: str = message.command  # type: ignore[attr-defined]  # each of RELAYED has it
        command = self._commands.get(id)
        from_worker = peer.worker is not None
        if command is None or peer.route != (command.worker if from_worker else command.client):
            if from_worker and not isinstance(message, m.CommandEnded):
                send(peer.route, m.CommandClosed(command=id), None)
            elif not from_worker and not isinstance(message, m.CommandClosed):
                send(peer.route, m.CommandEnded(command=id, message="the coordinator was restarted meanwhile"), None)
            return
        if isinstance(message, m.CommandEnded | m.CommandClosed):
            del self._commands[id]
        has_payload = isinstance(message, m.CommandInput | m.CommandOutput)
        send(command.client if from_worker else command.worker, message, payload if has_payload else None)

    def worker_gone(self, name: str, why: str, send: Send) -> None:
        """A worker has left, or come anew: its commands are over."""
        for id, command in [pair for pair in self._commands.items() if pair[1].worker_name == name]:
            del self._commands[id]
            send(command.client, m.CommandEnded(command=id, message=why), None)

    def look(self, send: Send) -> None:
        """Ends the commands of peers that the router does not know any more. To be called each turn."""
        now = time.monotonic()
        if not self._commands or now - self._looked_at < m.PING_SECONDS / 2:
            return
        self._looked_at = now
        for id, command in list(self._commands.items()):
            if self._router.peer(command.worker) is None:
                del self._commands[id]
                text = f"worker {command.worker_name} is offline"
                send(command.client, m.CommandEnded(command=id, message=text), None)
            elif self._router.peer(command.client) is None:
                del self._commands[id]
                send(command.worker, m.CommandClosed(command=id), None)
