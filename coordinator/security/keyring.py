"""The keyring: the coordinator's own keys, enrolled keys with their identities, and join tokens.

Everything is cached in memory, so that checking a message costs one dict look-up; changes are written durably before
they take effect. Knows no socket.
"""

from __future__ import annotations

import getpass
import hashlib
import hmac
import logging
import re
import secrets
import time
from pathlib import Path

import msgspec

from coordinator.security.roles import ALLOWED, Identity
from coordinator.store.models import AccessKey, AuditLine, JoinToken
from coordinator.store.store import Store
from coordinator.transport.zap import FEED_DOMAIN, ROUTER_DOMAIN
from protocol import admin
from protocol import messages as m
from protocol.decoders import from_json
from protocol.errors import ProtocolError
from protocol.keys import BESIDE, SECURITY, Credentials, KeyPair, keep_key_pair, key_beside

log = logging.getLogger(__name__)

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,62}")
LONGEST_EXPIRY = 30 * 86_400.0
MOST_OPEN_TOKENS = 1000
MOST_LABELS = 100
LONGEST_LABEL = 255
SECRET_BYTES = 32
SHORTEST_KEY_PREFIX = 6
"""Minimum length of a prefix that identifies a key."""
MOST_AUDIT_LINES = 1000
"""Maximum lines in one answer; `before` pages to older ones."""


class Keyring:
    """A coordinator's keys and tokens. Raises ProtocolError for refused requests, UsageError for bad key files."""

    def __init__(self, state: Path, store: Store) -> None:
        self._store = store
        directory = state / SECURITY
        self.server: KeyPair = keep_key_pair(directory / "coordinator.key")
        owner = keep_key_pair(directory / "owner.key")
        beside = {role: keep_key_pair(key_beside(state, role)) for role in BESIDE}
        self.local = Credentials(self.server.public, owner)
        self.owner = Identity(owner.public, _user(), "owner")
        self._keys: dict[str, admin.KeyView] = {}
        self._enrolled_by: dict[str, str] = {}  # public key -> digest of its token
        self._off_feed: set[str] = set()  # keys banned for too many subscriptions
        self._tokens: dict[str, admin.TokenView] = {}  # by the digest of the secret
        self._identities: dict[bytes, Identity] = {owner.public.encode(): self.owner}
        self._identities |= {pair.public.encode(): Identity(pair.public, role, role) for role, pair in beside.items()}
        for key, name, role, token, at, by, revoked, labels in store.all(AccessKey.select()):
            if (having := _readable(f"the key of {name!r}", role, labels)) is not None:
                view = admin.KeyView(
                    key=key, name=name, role=role, created_at=at, created_by=by, revoked_at=revoked, labels=having
                )
                self._learn(view, token)
        for digest, role, at, by, expires, used, labels in store.all(JoinToken.select()):
            if (having := _readable(f"join token {digest[:8]}", role, labels)) is not None:
                self._tokens[digest] = _token_view(digest, role, at, by, expires, used, having)

    # authentication

    def may_connect(self, domain: bytes, key: str) -> bool:
        """Whether ZeroMQ may accept a connection: from known keys, and from unknown ones while a token is open.

        The feed announces all runs, so it requires a role that may read them.
        """
        if identity := self._identities.get(key.encode()):
            return domain != FEED_DOMAIN or (m.GetSnapshot in identity.allowed and key not in self._off_feed)
        return domain == ROUTER_DOMAIN and key not in self._keys and self._has_open_token()

    def keep_off_feed(self, key: str) -> None:
        """Bans a key from the feed until the next start, except the owner's."""
        if key != self.owner.key:
            self._off_feed.add(key)

    def _has_open_token(self) -> bool:
        now = time.time()
        return any(token.used_by is None and token.expires_at > now for token in self._tokens.values())

    def check(self, key: bytes, kind: type[m.Message]) -> None:
        """Checks that a key may send messages of this type, before the message is decoded. Raises ProtocolError."""
        identity = self._identities.get(key)
        if identity is None:
            if kind is admin.Enrol:
                return
            if key.decode(errors="replace") in self._keys:
                raise ProtocolError("revoked", "your key was revoked; ask for a new join token")
            raise ProtocolError("forbidden", "your key is not enrolled here; ask for a join token")
        if kind not in identity.allowed:
            raise ProtocolError("forbidden", f"{kind.__name__} is not for a {identity.role} to send")

    def check_name(self, key: bytes, hello: m.Hello) -> None:
        """Checks that a worker uses its key's name. Raises ProtocolError."""
        identity = self._identities[key]
        if identity.role == "worker" and hello.name != identity.name:
            raise ProtocolError(
                "forbidden", f"your key belongs to worker {identity.name!r}, not to worker {hello.name[:100]!r}"
            )

    def identity(self, key: bytes | None) -> Identity:
        """The identity of a checked key; without encryption, every peer is the owner."""
        return self.owner if key is None else self._identities[key]

    def who(self, key: bytes | None) -> str:
        """The holder of a key, for the log."""
        if key is None:
            return "a peer"
        known = self._keys.get(key.decode(errors="replace"))
        return (
            str(self._identities.get(key)) if key in self._identities else f"{known.name!r}" if known else "a stranger"
        )

    # tokens

    def create_token(self, message: admin.CreateToken, by: Identity) -> admin.TokenCreated:
        """Creates a token; its secret is not stored."""
        now = time.time()
        if not 0 < message.expires <= LONGEST_EXPIRY:
            raise ProtocolError("bad_request", f"a token is valid for at most {LONGEST_EXPIRY / 86_400:.0f} days")
        if sum(token.used_by is None and token.expires_at > now for token in self._tokens.values()) >= MOST_OPEN_TOKENS:
            raise ProtocolError("bad_request", f"{MOST_OPEN_TOKENS} tokens are open already; let some expire")
        if message.labels and message.role != "worker":
            raise ProtocolError("bad_request", f"labels are for workers; a {message.role} has none")
        if len(message.labels) > MOST_LABELS or any(len(label) > LONGEST_LABEL for label in message.labels):
            raise ProtocolError("bad_request", f"at most {MOST_LABELS} labels of {LONGEST_LABEL} characters")
        secret = secrets.token_urlsafe(SECRET_BYTES)
        digest = _digest(secret)
        token = _token_view(digest, message.role, now, by.name, now + message.expires, None, message.labels)
        having = f", labels {' '.join(message.labels)}" if message.labels else ""
        what = f"for a {message.role}{having}, {message.expires:.0f} s"
        line = (now, by.name, by.role, "create token", token.id, what)
        self._store.keep(line, (JoinToken, _token_row(digest, token)))
        self._tokens[digest] = token
        return admin.TokenCreated(id=message.id, secret=secret, server=self.server.public, expires_at=token.expires_at)

    def tokens(self) -> list[admin.TokenView]:
        """All tokens ever created, newest first."""
        return sorted(self._tokens.values(), key=lambda token: -token.created_at)

    def enrol(self, key: bytes, message: admin.Enrol, known_workers: frozenset[str]) -> admin.Enrolled:
        """Enrols a key. `known_workers` are the names in use by workers without a key of their own."""
        public = key.decode()
        digest = _digest(message.secret)
        known = self._keys.get(public)
        if known and known.revoked_at is None and hmac.compare_digest(self._enrolled_by[public], digest):
            return admin.Enrolled(id=message.id, name=known.name, role=known.role)  # type: ignore[arg-type]
        token = self._tokens.get(digest)
        now = time.time()
        if known or key in self._identities:
            raise ProtocolError("forbidden", "this key was enrolled before; make a new one")
        if token is None or token.used_by is not None or token.expires_at <= now:
            raise ProtocolError("forbidden", "this join token is unknown, used up or expired; ask for a new one")
        if not NAME.fullmatch(message.name):
            raise ProtocolError("bad_field", f"bad key name {message.name[:100]!r}")
        taken = next((view for view in self._keys.values() if view.name == message.name and not view.revoked_at), None)
        if (
            taken
            or message.name in (self.owner.name, *BESIDE)
            or (token.role == "worker" and message.name in known_workers)
        ):
            raise ProtocolError("forbidden", f"the name {message.name!r} is taken; join under another name")
        by = token.created_by
        view = admin.KeyView(
            key=public, name=message.name, role=token.role, created_at=now, created_by=by, labels=token.labels
        )
        used = msgspec.structs.replace(token, used_by=message.name)
        line = (now, message.name, token.role, "enrol", public, f"by token {token.id} of {by}")
        self._store.keep(line, (AccessKey, _key_row(view, digest)), (JoinToken, _token_row(digest, used)))
        self._tokens[digest] = used
        self._learn(view, digest)
        log.info("enrolled the %s %r", view.role, view.name)
        return admin.Enrolled(id=message.id, name=view.name, role=token.role)

    # keys

    def labels_of(self, worker: str) -> frozenset[str] | None:
        """The labels of a worker's key; None for a worker without a key of its own, which uses the owner's."""
        keys = (view for view in self._keys.values() if view.name == worker and view.role == "worker")
        return next((frozenset(view.labels) for view in keys if view.revoked_at is None), None)

    def keys(self) -> list[admin.KeyView]:
        """All keys ever enrolled, newest first, then the owner's."""
        own = admin.KeyView(
            key=self.owner.key, name=self.owner.name, role="owner", created_at=0.0, created_by=self.owner.name
        )
        return [*sorted(self._keys.values(), key=lambda view: -view.created_at), own]

    def revoke(self, message: admin.RevokeKey, by: Identity) -> Identity:
        """Revokes the key identified by its name or a prefix of it. Returns its identity."""
        wanted = message.key
        found = [view for view in self._keys.values() if view.revoked_at is None and view.name == wanted]
        if not found and len(wanted) >= SHORTEST_KEY_PREFIX:
            found = [v for v in self._keys.values() if v.revoked_at is None and v.key.startswith(wanted)]
        if not found:
            raise ProtocolError("not_found", f"no key in use is named {wanted[:100]!r} or begins with that")
        if len(found) > 1:
            raise ProtocolError("bad_request", f"{wanted!r} matches {len(found)} keys; give more characters")
        (view,) = found
        now = time.time()
        revoked = msgspec.structs.replace(view, revoked_at=now)
        line = (now, by.name, by.role, "revoke", view.name, view.key)
        self._store.keep(line, (AccessKey, _key_row(revoked, self._enrolled_by[view.key])))
        self._keys[view.key] = revoked
        log.warning("revoked the key of the %s %r", view.role, view.name)
        return self._identities.pop(view.key.encode())

    def shut_out(self) -> dict[str, float]:
        """Workers whose keys were all revoked, with the wall time of the last revocation."""
        keys = [view for view in self._keys.values() if view.role == "worker"]
        in_use = {view.name for view in keys if view.revoked_at is None}
        revoked = sorted((view.revoked_at, view.name) for view in keys if view.revoked_at is not None)
        return {name: at for at, name in revoked if name not in in_use}

    def audit(self, message: admin.GetAudit) -> admin.AuditList:
        """Audit lines, newest first."""
        query = AuditLine.select().order_by(AuditLine.id.desc()).limit(max(0, min(message.limit, MOST_AUDIT_LINES)))
        if message.before is not None:
            query = query.where(AuditLine.id < message.before)
        lines = [
            admin.AuditView(id=id, at=at, actor=actor, role=role, action=action, subject=subject, detail=detail)
            for id, at, actor, role, action, subject, detail in self._store.all(query)
        ]
        return admin.AuditList(id=message.id, lines=lines)

    def _learn(self, view: admin.KeyView, token: str) -> None:
        self._keys[view.key] = view
        self._enrolled_by[view.key] = token
        if view.revoked_at is None:
            self._identities[view.key.encode()] = Identity(view.key, view.name, view.role)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "owner"


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _readable(what: str, role: str, labels: str | None) -> list[str] | None:
    """The labels in a row of a key or token; logs an error and returns None if the row is invalid."""
    try:
        if role not in ALLOWED:
            raise ValueError(f"unknown role {role!r}")
        return from_json(labels, list[str]) if labels else []
    except ValueError as error:
        log.error("ignoring %s: its row in the database is invalid (%s)", what, error)
        return None


def _labels_json(labels: list[str]) -> str:
    return msgspec.json.encode(labels).decode()


def _token_view(
    digest: str, role: str, at: float, by: str, expires: float, used: str | None, labels: list[str]
) -> admin.TokenView:
    return admin.TokenView(
        id=digest[:8],
        role=role,  # type: ignore[arg-type]
        created_at=at,
        created_by=by,
        expires_at=expires,
        used_by=used,
        labels=labels,
    )


def _token_row(digest: str, token: admin.TokenView) -> tuple[object, ...]:
    labels = _labels_json(token.labels)
    return digest, token.role, token.created_at, token.created_by, token.expires_at, token.used_by, labels


def _key_row(view: admin.KeyView, token: str) -> tuple[object, ...]:
    labels = _labels_json(view.labels)
    return view.key, view.name, view.role, token, view.created_at, view.created_by, view.revoked_at, labels
