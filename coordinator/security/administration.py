"""Handles messages about keys, tokens, secrets and the audit. Knows no socket.

Changes are rare, so each is written durably on its own, before its reply is queued.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import get_args

from coordinator.security.keyring import Keyring
from coordinator.security.roles import Identity
from coordinator.security.vault import Vault
from protocol import admin
from protocol import messages as m

MESSAGES = get_args(admin.ToCoordinator)


class Administration:
    """Handles administrative messages. Methods raise ProtocolError for requests that are refused.

    `cut_off` is called with the identity of a revoked key; `worker_names` returns the names that workers use now.
    """

    def __init__(
        self,
        access: Keyring,
        vault: Vault,
        cut_off: Callable[[Identity], None],
        worker_names: Callable[[], frozenset[str]],
    ) -> None:
        self._access = access
        self._vault = vault
        self._cut_off = cut_off
        self._worker_names = worker_names

    def enrol(self, key: bytes, message: admin.Enrol) -> admin.Enrolled:
        """Enrols the key of a connection."""
        return self._access.enrol(key, message, self._worker_names())

    def answer(self, message: m.Message, by: Identity) -> m.Message:
        """Executes an authorized request and returns the reply."""
        match message:
            case admin.CreateToken():
                return self._access.create_token(message, by)
            case admin.ListTokens():
                return admin.TokenList(id=message.id, tokens=self._access.tokens())
            case admin.ListKeys():
                return admin.KeyList(id=message.id, keys=self._access.keys())
            case admin.RevokeKey():
                self._cut_off(self._access.revoke(message, by))
                return m.Done(id=message.id, count=1)
            case admin.SetSecret():
                self._vault.put(message, by)
                return m.Done(id=message.id, count=1)
            case admin.RemoveSecret():
                self._vault.remove(message, by)
                return m.Done(id=message.id, count=1)
            case admin.ListSecrets():
                return admin.SecretList(id=message.id, secrets=self._vault.views())
            case admin.GetAudit():
                return self._access.audit(message)
        raise AssertionError(type(message))
