"""The vault: secrets encrypted with a key outside the database, decrypted only for the assignments that need them.

Each is sealed by AES-256-GCM with its project and name as associated data, so that write access to the database allows
neither reading a secret nor passing it off as another. Knows no socket.
"""

from __future__ import annotations

import base64
import fnmatch
import logging
import os
import re
import time
from collections.abc import Iterable
from pathlib import Path

import msgspec

from coordinator.security.roles import Identity
from coordinator.store.models import Secret
from coordinator.store.store import Store
from protocol import admin
from protocol.decoders import from_json
from protocol.errors import ProtocolError, UsageError
from protocol.keys import PRIVATE_DIRECTORY, SECURITY, read_private, write_private
from protocol.messages import Source
from protocol.plan import Variable

log = logging.getLogger(__name__)

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}")
SHORTEST = 8
"""Minimum characters of a value: masking a shorter one in a log would mask half of the log. GitLab's bound."""
LONGEST = 64 << 10
LONGEST_PROJECT = 255
MOST = 10_000
KEY_BYTES = 32
NONCE_BYTES = 12

Place = tuple[str, str]  # (project, name)


class Vault:
    """The secrets of one coordinator. Raises ProtocolError for refused requests, UsageError for a bad key."""

    def __init__(self, state: Path, store: Store) -> None:
        self._store = store
        self._key_file = state / SECURITY / "secrets.key"
        self._key: bytes | None = None
        self._views: dict[Place, admin.SecretView] = {}
        self._sealed: dict[Place, str] = {}
        for project, name, branches, labels, file, sealed, at, by in store.all(Secret.select()):
            try:
                self._views[project, name] = admin.SecretView(
                    name=name,
                    project=project,
                    branches=from_json(branches, list[str]),
                    labels=from_json(labels, list[str]),
                    file=bool(file),
                    changed_at=at,
                    changed_by=by,
                )
            except ValueError as error:
                log.error("ignoring secret %r: its row in the database is invalid (%s)", name, error)
                continue
            self._sealed[project, name] = sealed
        if self._sealed:
            self._open_all()

    def _open_all(self) -> None:
        """Verifies the key at the start: with a wrong one, jobs would fail one by one for lack of their secrets."""
        if read_private(self._key_file) is None:
            raise UsageError(
                f"the database has secrets, but their key {self._key_file} is missing; restore it from a backup"
            )
        for place in self._sealed:
            self._open(place)

    def put(self, message: admin.SetSecret, by: Identity) -> None:
        """Creates or replaces a secret."""
        if not NAME.fullmatch(message.name):
            raise ProtocolError("bad_request", f"bad variable name {message.name[:100]!r}")
        if len(message.value) < SHORTEST:
            raise ProtocolError("bad_request", f"a secret needs at least {SHORTEST} characters, or it can't be masked")
        if len(message.value) > LONGEST or "\0" in message.value or len(message.project) > LONGEST_PROJECT:
            raise ProtocolError("bad_request", f"a secret has at most {LONGEST} characters, and no NUL")
        place = (message.project, message.name)
        if place not in self._views and len(self._views) >= MOST:
            raise ProtocolError("bad_request", f"there are {MOST} secrets already")
        now = time.time()
        view = admin.SecretView(
            name=message.name,
            project=message.project,
            branches=message.branches,
            labels=message.labels,
            file=message.file,
            changed_at=now,
            changed_by=by.name,
        )
        sealed = self._seal(place, message.value)
        row = (*place, _json(view.branches), _json(view.labels), view.file, sealed, now, by.name)
        line = (now, by.name, by.role, "set secret", message.name, _scope(view))
        self._store.keep(line, (Secret, row))
        self._views[place] = view
        self._sealed[place] = sealed

    def remove(self, message: admin.RemoveSecret, by: Identity) -> None:
        """Removes a secret; jobs that already have it keep it."""
        place = (message.project, message.name)
        view = self._views.get(place)
        if view is None:
            where = f"of project {message.project!r}" if message.project else "for all projects"
            raise ProtocolError("not_found", f"no secret {message.name[:100]!r} {where}")
        line = (time.time(), by.name, by.role, "remove secret", message.name, _scope(view))
        self._store.remove(line, Secret, (Secret.project == message.project) & (Secret.name == message.name))
        del self._views[place], self._sealed[place]

    def views(self) -> list[admin.SecretView]:
        """All secrets, without their values."""
        return [self._views[place] for place in sorted(self._views, key=lambda place: place[::-1])]

    def of(self, project: str, source: Source, labels: Iterable[str]) -> list[Variable]:
        """The secrets for a run of a project on a worker with these labels; none for the commit of a fork.

        One that is restricted to branches is only for runs of a protected branch or tag, if that is known. A project's
        own secret comes after a global one of the same name, and therefore wins.
        """
        if not self._views or source.fork:
            return []
        having = frozenset(labels)
        found = []
        for (owner, name), view in sorted(self._views.items()):
            here = owner in ("", project) and having.issuperset(view.labels)
            if here and (not view.branches or _reaches(view.branches, source)):
                value = self._open((owner, name))
                found.append(Variable(key=name, value=value, raw=True, masked=True, file=view.file))
        return found

    def reveal(self, project: str, name: str) -> str:
        """The value of a project's secret, or else of the one of that name for all projects.

        Raises ProtocolError if there is none, or if it is for labelled workers.
        """
        place = next((place for place in ((project, name), ("", name)) if place in self._sealed), None)
        if place is None:
            raise ProtocolError(
                "not_found", f"there is no secret {name[:100]!r}; set it: longshore secret set {name[:100]}"
            )
        if self._views[place].labels:  # who adds a project must not get at it
            raise ProtocolError("bad_request", f"secret {name!r} has labels, so it goes to such workers alone")
        return self._open(place)

    # the seal

    def seal(self, place: Place, value: str) -> str:
        """A text that only this vault opens again, as that of the same place. No secret has this place."""
        return self._seal(place, value)

    def open(self, place: Place, sealed: str) -> str:
        """The value that was sealed. Raises UsageError with another key, or if the text was modified."""
        return self._opened(place, sealed)

    def _seal(self, place: Place, value: str) -> str:
        from cryptography.hazmat.primitives.ciphers.aead import (
            AESGCM,
        )  # imported late: it is slow, and needed only with secrets

        nonce = os.urandom(NONCE_BYTES)
        return base64.b64encode(nonce + AESGCM(self._read_key()).encrypt(nonce, value.encode(), _bound(place))).decode()

    def _open(self, place: Place) -> str:
        return self._opened(place, self._sealed[place])

    def _opened(self, place: Place, text: str) -> str:
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        try:
            sealed = base64.b64decode(text)
            opened = AESGCM(self._read_key()).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], _bound(place))
        except (InvalidTag, ValueError):  # ValueError: not base64, or too short for a nonce
            raise UsageError(
                f"secret {place[1]!r} can't be opened: {self._key_file} is not the key that it was sealed with, or the "
                "database was modified; restore both from the same backup"
            ) from None
        return opened.decode()

    def _read_key(self) -> bytes:
        if self._key is None:
            text = read_private(self._key_file)
            if text is None:
                self._key_file.parent.mkdir(parents=True, exist_ok=True, mode=PRIVATE_DIRECTORY)
                text = base64.b64encode(os.urandom(KEY_BYTES)).decode()
                write_private(self._key_file, text + "\n")
            self._key = base64.b64decode(text)
        return self._key


def _reaches(branches: Iterable[str], source: Source) -> bool:
    protected = source.protected is not False
    return protected and any(fnmatch.fnmatchcase(source.ref, pattern) for pattern in branches)


def _bound(place: Place) -> bytes:
    return "\0".join(place).encode()


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _scope(view: admin.SecretView) -> str:
    parts = [f"project {view.project}" if view.project else "all projects"]
    if view.branches:
        parts.append(f"branches {' '.join(view.branches)}")
    if view.labels:
        parts.append(f"labels {' '.join(view.labels)}")
    return ", ".join(parts)
