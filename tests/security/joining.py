"""Keys for tests: the owner's, and those of whoever joins by a token."""

from __future__ import annotations

from protocol import admin
from protocol.client import Client
from protocol.codec import decode_for_worker
from protocol.keys import Credentials, new_key_pair
from tests.support.coordinator_process import Running, WireWorker


def owner(running: Running) -> Client:
    """The owner's client, wherever credentials are looked for."""
    return running.client(credentials=running.coordinator.door.access.local)


def join(running: Running, role: str, name: str, **token_fields: object) -> Credentials:
    """A key that was enrolled by a token."""
    with owner(running) as client:
        token = client.request(admin.CreateToken, admin.TokenCreated, role=role, **token_fields)
    credentials = Credentials(token.server, new_key_pair())
    with running.client(credentials=credentials) as client:
        assert client.enrol(token.secret, name).role == role
    return credentials


class Wire(WireWorker):
    """A raw connection by given credentials."""

    def __init__(self, running: Running, credentials: Credentials, name: str = "w1", decode: object = None) -> None:
        super().__init__(running.address, name, decode=decode or decode_for_worker, credentials=credentials)
