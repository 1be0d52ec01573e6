"""Administrative messages: join tokens, keys, secrets, the audit. Pure data; see `messages` for the rest.

Roles: a `worker` runs jobs, an `operator` acts, a `viewer` reads, `web` reads and takes webhooks. The `owner` is the
user running the coordinator, on its own machine; only the owner can admit new keys. The `launcher` is the process
beside the coordinator that starts the runs of projects.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from protocol import messages as m
from protocol.messages import Message
from protocol.views import View

EnrolledRole = Literal["worker", "operator", "viewer", "web"]
Role = Literal["owner", "worker", "operator", "viewer", "web", "launcher"]


class KeyView(View, frozen=True, kw_only=True):
    """One enrolled key. `key` is its public half; `labels` are a worker's, to which secrets may be restricted."""

    key: str
    name: str
    role: Role
    created_at: float
    created_by: str
    revoked_at: float | None = None
    labels: list[str] = msgspec.field(default_factory=list)


class TokenView(View, frozen=True, kw_only=True):
    """One join token, without its secret. `used_by` is the name of the key enrolled with it."""

    id: str
    role: EnrolledRole
    created_at: float
    created_by: str
    expires_at: float
    used_by: str | None = None
    labels: list[str] = msgspec.field(default_factory=list)


class SecretView(View, frozen=True, kw_only=True):
    """One secret, without its value. An empty `project` means all projects."""

    name: str
    project: str
    branches: list[str] = msgspec.field(default_factory=list)
    labels: list[str] = msgspec.field(default_factory=list)
    file: bool = False
    changed_at: float
    changed_by: str


class AuditView(View, frozen=True, kw_only=True):
    """One audited action. `subject` is its object, such as a run."""

    id: int
    at: float
    actor: str
    role: Role
    action: str
    subject: str = ""
    detail: str = ""


# --- to the coordinator ----------------------------------------------------------------------------------------------


class Enrol(Message, frozen=True, kw_only=True, tag="enrol"):
    """Enrols the sender's key with a join token's secret. The only message that an unknown key may send.

    Answer: Enrolled. Idempotent for the same key and token.
    """

    id: int
    secret: str
    name: str = ""


class CreateToken(Message, frozen=True, kw_only=True, tag="create_token"):
    """Creates a join token that is valid once, for `expires` seconds. Answer: TokenCreated.

    `labels` are for workers: secrets may be restricted to them. A worker's self-declared labels only match jobs' tags.
    """

    id: int
    role: EnrolledRole
    expires: float = 3600.0
    labels: list[str] = msgspec.field(default_factory=list)


class ListTokens(Message, frozen=True, kw_only=True, tag="list_tokens"):
    """Answer: TokenList."""

    id: int


class ListKeys(Message, frozen=True, kw_only=True, tag="list_keys"):
    """Answer: KeyList."""

    id: int


class RevokeKey(Message, frozen=True, kw_only=True, tag="revoke_key"):
    """Revokes a key and drops its connections. `key` is a name, or a prefix of a public key. Answer: Done."""

    id: int
    key: str


class SetSecret(Message, frozen=True, kw_only=True, tag="set_secret"):
    """Creates or replaces a secret. Answer: Done.

    An empty `project` means all projects. `branches` (patterns) restrict it to runs of those branches, `labels` to
    workers with all of those labels. `file`: the variable is the path of a file with the value.
    """

    id: int
    name: str
    value: str
    project: str = ""
    branches: list[str] = msgspec.field(default_factory=list)
    labels: list[str] = msgspec.field(default_factory=list)
    file: bool = False


class ListSecrets(Message, frozen=True, kw_only=True, tag="list_secrets"):
    """Answer: SecretList."""

    id: int


class RemoveSecret(Message, frozen=True, kw_only=True, tag="remove_secret"):
    """Answer: Done."""

    id: int
    name: str
    project: str = ""


class GetAudit(Message, frozen=True, kw_only=True, tag="get_audit"):
    """Newest first, ids below `before` if given. Answer: AuditList."""

    id: int
    limit: int = 100
    before: int | None = None


# --- from the coordinator --------------------------------------------------------------------------------------------


class Enrolled(Message, frozen=True, kw_only=True, tag="enrolled"):
    """Answer to Enrol; the key is enrolled."""

    id: int
    name: str
    role: EnrolledRole


class TokenCreated(Message, frozen=True, kw_only=True, tag="token_created"):
    """Answer to CreateToken: the token's secret, which is never sent again, and the coordinator's public key."""

    id: int
    secret: str
    server: str
    expires_at: float


class TokenList(Message, frozen=True, kw_only=True, tag="token_list"):
    """Answer to ListTokens, newest first."""

    id: int
    tokens: list[TokenView]


class KeyList(Message, frozen=True, kw_only=True, tag="key_list"):
    """Answer to ListKeys, newest first."""

    id: int
    keys: list[KeyView]


class SecretList(Message, frozen=True, kw_only=True, tag="secret_list"):
    """Answer to ListSecrets, by name."""

    id: int
    secrets: list[SecretView]


class AuditList(Message, frozen=True, kw_only=True, tag="audit_list"):
    """Answer to GetAudit."""

    id: int
    lines: list[AuditView]


ForOperators = SetSecret | ListSecrets | RemoveSecret | ListKeys | GetAudit
ForOwners = CreateToken | ListTokens | RevokeKey
FromAdmin = ForOperators | ForOwners
ToCoordinator = Enrol | FromAdmin | m.Administrative | m.ChangesSchedules | m.ChangesChannels
ToClient = Enrolled | TokenCreated | TokenList | KeyList | SecretList | AuditList
