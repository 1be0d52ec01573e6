"""Redeems join tokens: generates a key pair, has its public half enrolled, and stores both."""

from __future__ import annotations

from pathlib import Path

from protocol.admin import Enrolled
from protocol.client import Client
from protocol.errors import NotLetIn, UsageError
from protocol.keys import (
    Credentials,
    JoinToken,
    credentials_file,
    new_key_pair,
    read_credentials,
    save_credentials,
)

ENROL_SECONDS = 15.0


def enrol(token: JoinToken, name: str, directory: Path) -> Enrolled:
    """Enrols under `name` and stores the credentials in `directory`.

    Raises UsageError if the token is rejected, CoordinatorUnreachable.
    """
    credentials = Credentials(token.server, new_key_pair())
    with Client(token.address, timeout=ENROL_SECONDS, name=name, credentials=credentials) as client:
        try:
            enrolled = client.enrol(token.secret, name)
        except NotLetIn as error:
            raise UsageError(
                f"{token.address} enrols no new keys now: this join token is spent or expired; ask for a new one"
            ) from error
    save_credentials(directory, token.address, credentials)
    return enrolled


def worker_keys(state: Path, name: str) -> Path:
    """Directory of a worker's credentials on this host: each worker has its own key."""
    return state / "worker" / "keys" / name


def worker_credentials(state: Path, name: str, address: str) -> Credentials | None:
    """The credentials of an enrolled worker."""
    return read_credentials(worker_keys(state, name) / credentials_file(address))


def join_worker(state: Path, name: str, token: JoinToken) -> Credentials:
    """A worker's credentials, enrolled by token if it has none, so that the same command works again on restart."""
    found = worker_credentials(state, name, token.address)
    if found is not None and found.server == token.server:
        return found
    enrolled = enrol(token, name, worker_keys(state, name))
    if enrolled.role != "worker":
        credentials_path = worker_keys(state, name) / credentials_file(token.address)
        credentials_path.unlink()
        raise UsageError(f"this join token is for a {enrolled.role}, and is now spent. Ask for one for a worker")
    found = worker_credentials(state, name, token.address)
    assert found is not None
    return found
