"""The coordinator's door: everything about who may connect and act, behind one face for the server's loop.

Also on a coordinator that asks for no keys (`secure` of its settings), where everybody is the owner.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path

import msgspec
import zmq

from coordinator.engine.engine import Engine
from coordinator.engine.state import Now
from coordinator.security.administration import Administration
from coordinator.security.keyring import Keyring
from coordinator.security.local_address import own_address
from coordinator.security.roles import Identity
from coordinator.security.vault import Vault
from coordinator.store.store import Store
from coordinator.throttled_log import ThrottledLogger
from coordinator.transport.zap import Authenticator
from protocol import admin
from protocol import messages as m
from protocol.errors import ProtocolError
from protocol.keys import ACCESS, KeyPair, local_addresses, publish, save_credentials, withdraw

log = logging.getLogger(__name__)


class Gatekeeper:
    """Opens before the sockets bind that ask it. `cut_off` is called with whose key was revoked."""

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        state: Path,
        store: Store,
        engine: Engine,
        cut_off: Callable[[Identity], None],
        *,
        secure: bool,
    ) -> None:
        self._state = state
        self._store = store
        self._engine = engine
        self._published: list[Path] = []
        self._told = ThrottledLogger(log)
        self.access = Keyring(state, store)
        self.vault = Vault(state, store)
        self._administration = Administration(self.access, self.vault, cut_off, self._worker_names)
        self._authenticator = Authenticator(context, self.access.may_connect) if secure else None

    def close(self) -> None:
        """Nobody gets in any more."""
        withdraw(self._published)
        if self._authenticator is not None:
            self._authenticator.close()

    # connections

    def keys_for(self, bind: str) -> KeyPair | None:
        """What a socket proves itself by. Within the process there is nobody to prove it to."""
        return self.access.server if self._authenticator is not None and bind.startswith("tcp://") else None

    def watch(self, poller: zmq.Poller) -> None:
        """Lets the loop wake up when somebody knocks."""
        if self._authenticator is not None:
            poller.register(self._authenticator.socket, zmq.POLLIN)

    def tell_this_user(self, *addresses: str) -> None:
        """Lets other processes of the same user in, wherever they keep their state."""
        if self._authenticator is None:
            return
        tcp = [address for address in addresses if address.startswith("tcp://")]
        names = [name for address in tcp for name in local_addresses(address, own_address())]
        directory = self._state / ACCESS
        self._published = publish(names, self.access.local)
        self._published += [save_credentials(directory, name, self.access.local, pid=os.getpid()) for name in names]

    def keep_off_feed(self, key: str) -> None:
        """Lets a key have no more of the feed until the coordinator's next start."""
        self.access.keep_off_feed(key)
        log.warning("%s has asked the feed for too many topics and is kept off it", self.access.who(key.encode()))

    def answer(self) -> None:
        """Lets in, or not, who has knocked."""
        if self._authenticator is not None:
            self._authenticator.answer()

    # messages

    def check(self, key: bytes | None, kind: type[m.Message]) -> None:
        """Lets a message of this type pass, if its sender may send it. Raises ProtocolError."""
        if key is not None:
            self.access.check(key, kind)

    def check_name(self, key: bytes | None, hello: m.Hello) -> None:
        """Lets a worker in under its own name only. Raises ProtocolError."""
        if key is not None:
            self.access.check_name(key, hello)

    def refused(self, key: bytes | None, error: ProtocolError) -> None:
        """Tells the log of a refusal; not of each one in a flood, or it would fill the disk."""
        self._told.say("refused %s: %s", self.access.who(key), error)

    def administer(self, key: bytes | None, message: m.Message) -> m.Message:
        """Does what changes seldom: keys, tokens, secrets. Raises ProtocolError."""
        if not isinstance(message, admin.Enrol):
            return self._administration.answer(message, self.access.identity(key))
        if key is None:
            raise ProtocolError("bad_request", "this coordinator asks for no keys")
        return self._administration.enrol(key, message)

    def shut_out_again(self, now: Now) -> None:
        """After a start: fails what workers had whose keys were revoked just before a crash."""
        if self._authenticator is None:
            return
        for name, revoked_at in self.access.shut_out().items():
            worker = self._engine.workers().get(name)
            if worker is not None and worker.attempts:
                self._engine.worker_shut_out(name, now, revoked_at=revoked_at)

    def _worker_names(self) -> frozenset[str]:
        """The names of workers that are here, or have jobs."""
        workers = self._engine.workers().items()
        return frozenset(name for name, worker in workers if worker.online or worker.attempts)

    def note(self, key: bytes | None, now: Now, action: str, subject: str, detail: str) -> None:
        """Tells the audit what somebody does, to be written with what comes of it."""
        by = self.access.identity(key)
        self._store.audit((now.wall, by.name, by.role, action, subject, detail))

    def with_secrets(self, worker: str | None, message: m.Message) -> m.Message:
        """An assignment as its worker gets it: what nobody else is told is added when all that is kept is written."""
        if not isinstance(message, m.AssignJob | m.JobExecution) or message.assignment is None or worker is None:
            return message
        assignment = message.assignment
        run, at = self._engine.unfinished().get(assignment.run), self._engine.workers().get(worker)
        if run is None or at is None:
            return message
        own = self.access.labels_of(worker)
        labels = at.labels if own is None else own.intersection(at.labels)
        secrets = self.vault.of(assignment.project, run.source.ref, labels)
        if not secrets:
            return message
        return msgspec.structs.replace(message, assignment=msgspec.structs.replace(assignment, secrets=secrets))
