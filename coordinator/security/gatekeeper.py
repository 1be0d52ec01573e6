"""The coordinator's access control behind one interface for the server's loop: connections, messages, secrets.

Also used by a coordinator without encryption (`secure` of its settings), where every peer is the owner.
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
    """Create it before the sockets bind that it protects. `cut_off` is called with the identity of a revoked key."""

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
        self._warnings = ThrottledLogger(log)
        self.access = Keyring(state, store)
        self.vault = Vault(state, store)
        self._administration = Administration(self.access, self.vault, cut_off, self._worker_names)
        self._authenticator = Authenticator(context, self.access.may_connect) if secure else None

    def close(self) -> None:
        """Withdraws published credentials; new connections are refused from now on."""
        withdraw(self._published)
        if self._authenticator is not None:
            self._authenticator.close()

    # connections

    def keys_for(self, bind: str) -> KeyPair | None:
        """The server keys for a socket bound to `bind`; None without encryption, and within the process."""
        return self.access.server if self._authenticator is not None and bind.startswith("tcp://") else None

    def watch(self, poller: zmq.Poller) -> None:
        """Registers the authenticator's socket, so that new connections wake the loop."""
        if self._authenticator is not None:
            poller.register(self._authenticator.socket, zmq.POLLIN)

    def tell_this_user(self, *addresses: str) -> None:
        """Publishes credentials for other processes of the same user, whatever their state directory."""
        if self._authenticator is None:
            return
        tcp = [address for address in addresses if address.startswith("tcp://")]
        names = [name for address in tcp for name in local_addresses(address, own_address())]
        directory = self._state / ACCESS
        self._published = publish(names, self.access.local)
        self._published += [save_credentials(directory, name, self.access.local, pid=os.getpid()) for name in names]

    def keep_off_feed(self, key: str) -> None:
        """Bans a key from the feed until the coordinator's next start."""
        self.access.keep_off_feed(key)
        log.warning("%s subscribed to too many topics of the feed and is banned from it", self.access.who(key.encode()))

    def answer(self) -> None:
        """Answers pending authentication requests."""
        if self._authenticator is not None:
            self._authenticator.answer()

    # messages

    def check(self, key: bytes | None, kind: type[m.Message]) -> None:
        """Checks that the sender may send a message of this type. Raises ProtocolError."""
        if key is not None:
            self.access.check(key, kind)

    def check_name(self, key: bytes | None, hello: m.Hello) -> None:
        """Checks that a worker uses its key's name. Raises ProtocolError."""
        if key is not None:
            self.access.check_name(key, hello)

    def check_blob(self, key: bytes | None, peer: str | None, digest: str) -> None:
        """Checks that a worker reads only blobs of runs that it has attempts of. Raises ProtocolError.

        `peer` is the worker's name if it has said hello as one. A worker's key is bound by this also if it has said
        hello as a client.
        """
        identity = self.access.identity(key)
        worker = identity.name if identity.role == "worker" else peer
        if worker is not None and not self._engine.may_read(worker, digest):
            raise ProtocolError(
                "forbidden", f"worker {worker!r} has no attempt of a run with the blob {digest[:100]!r}"
            )

    def refused(self, key: bytes | None, error: ProtocolError) -> None:
        """Logs a refusal, rate-limited so that a flood of them does not fill the disk."""
        self._warnings.say("refused %s: %s", self.access.who(key), error)

    def administer(self, key: bytes | None, message: m.Message) -> m.Message:
        """Executes an administrative request: keys, tokens, secrets. Raises ProtocolError."""
        if not isinstance(message, admin.Enrol):
            return self._administration.answer(message, self.access.identity(key))
        if key is None:
            raise ProtocolError("bad_request", "this coordinator does not use keys")
        return self._administration.enrol(key, message)

    def shut_out_again(self, now: Now) -> None:
        """Fails the attempts of workers whose keys were revoked just before a crash. Call after a start."""
        if self._authenticator is None:
            return
        for name, revoked_at in self.access.shut_out().items():
            worker = self._engine.workers().get(name)
            if worker is not None and worker.attempts:
                self._engine.worker_shut_out(name, now, revoked_at=revoked_at)

    def _worker_names(self) -> frozenset[str]:
        """The names of workers that are online or have attempts."""
        workers = self._engine.workers().items()
        return frozenset(name for name, worker in workers if worker.online or worker.attempts)

    def note(self, key: bytes | None, now: Now, action: str, subject: str, detail: str) -> None:
        """Records an action in the audit, to be written with the turn's rows."""
        by = self.access.identity(key)
        self._store.audit((now.wall, by.name, by.role, action, subject, detail))

    def with_secrets(self, worker: str | None, message: m.Message) -> m.Message:
        """An assignment with its secrets, which are added only now, after the turn's rows are written."""
        if not isinstance(message, m.AssignJob | m.JobExecution) or message.assignment is None or worker is None:
            return message
        assignment = message.assignment
        run, at = self._engine.unfinished().get(assignment.run), self._engine.workers().get(worker)
        if run is None or at is None:
            return message
        own = self.access.labels_of(worker)
        labels = at.labels if own is None else own.intersection(at.labels)
        secrets = self.vault.of(assignment.project, run.source, labels)
        if not secrets:
            return message
        return msgspec.structs.replace(message, assignment=msgspec.structs.replace(assignment, secrets=secrets))
