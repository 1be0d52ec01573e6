"""Messages about who may do what: join tokens, keys, secrets, the audit. Pure data; see `messages` for the rest.

Roles: a `worker` runs jobs, an `operator` acts, a `viewer` reads, and the `owner` is the user whose coordinator it is,
on its own machine: the only one to let others in.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from protocol.messages import Message
from protocol.views import View

EnrolledRole = Literal["worker", "operator", "viewer"]
Role = Literal["owner", "worker", "operator", "viewer"]


class KeyView(View, frozen=True, kw_only=True):
    """One enrolled key. `key` is its public half; `labels` are those of a worker that secrets may be kept to."""

    key: str
    name: str
    role: Role
    created_at: float
    created_by: str
    revoked_at: float | None = None
    labels: list[str] = msgspec.field(default_factory=list)


class TokenView(View, frozen=True, kw_only=True):
    """One join token, without its secret. `used_by` is the name of the key that it let in."""

    id: str
    role: EnrolledRole
    created_at: float
    created_by: str
    expires_at: float
    used_by: str | None = None
    labels: list[str] = msgspec.field(default_factory=list)


class SecretView(View, frozen=True, kw_only=True):
    """One secret, without its value. An empty `project` is: all of them."""

    name: str
    project: str
    branches: list[str] = msgspec.field(default_factory=list)
    labels: list[str] = msgspec.field(default_factory=list)
    file: bool = False
    changed_at: float
    changed_by: str


class AuditView(View, frozen=True, kw_only=True):
    """One thing that somebody did. `subject` is what it was done to."""

    id: int
    at: float
    actor: str
    role: Role
    action: str
    subject: str = ""
    detail: str = ""


# --- to the coordinator ----------------------------------------------------------------------------------------------


class Enrol(Message, frozen=True, kw_only=True, tag="enrol"):
    """Makes the sender's key known, by a join token's secret. The only message that a stranger may send.

    Answer: Enrolled. The same key again, with the token that it was enrolled by, gets the same answer.
    """

    id: int
    secret: str
    name: str = ""


class CreateToken(Message, frozen=True, kw_only=True, tag="create_token"):
    """A new join token that is good once, for `expires` seconds. Answer: TokenCreated.

    `labels` are for workers: what secrets are kept to. Others a worker may state by itself, for jobs' tags only.
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
    """Shuts a key out, which cuts its connections off. `key` is a name, or the beginning of a key. Answer: Done."""

    id: int
    key: str


class SetSecret(Message, frozen=True, kw_only=True, tag="set_secret"):
    """Makes or replaces a secret. Answer: Done.

    `project` empty: for all. With `branches` (patterns) only runs of those get it, with `labels` only workers that have
    all of them. `file`: the variable is the path of a file that has the value.
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
    """Answer to Enrol; the key is known from now on."""

    id: int
    name: str
    role: EnrolledRole


class TokenCreated(Message, frozen=True, kw_only=True, tag="token_created"):
    """Answer to CreateToken: its secret, said this once, and the public key of the coordinator."""

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
ToCoordinator = Enrol | FromAdmin
ToClient = Enrolled | TokenCreated | TokenList | KeyList | SecretList | AuditList
