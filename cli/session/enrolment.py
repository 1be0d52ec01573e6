"""Uses join tokens up: makes a key pair here, has its public half enrolled, and keeps both for the next time."""

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
    """Joins under a name; the credentials are in `directory` from then on.

    Raises UsageError if the token is not taken, CoordinatorUnreachable.
    """
    credentials = Credentials(token.server, new_key_pair())
    with Client(token.address, timeout=ENROL_SECONDS, name=name, credentials=credentials) as client:
        try:
            enrolled = client.enrol(token.secret, name)
        except NotLetIn as error:
            raise UsageError(
                f"{token.address} takes no new keys now: this join token is used up or expired; ask for a new one"
            ) from error
    save_credentials(directory, token.address, credentials)
    return enrolled


def worker_keys(state: Path, name: str) -> Path:
    """Where a worker of this host keeps its credentials: each has a key of its own."""
    return state / "worker" / "keys" / name


def worker_credentials(state: Path, name: str, address: str) -> Credentials | None:
    """The credentials of a worker that has joined."""
    return read_credentials(worker_keys(state, name) / credentials_file(address))


def join_worker(state: Path, name: str, token: JoinToken) -> Credentials:
    """The credentials of a worker, by its token if it has none yet: so that the same command starts it again."""
    found = worker_credentials(state, name, token.address)
    if found is not None and found.server == token.server:
        return found
    enrolled = enrol(token, name, worker_keys(state, name))
    if enrolled.role != "worker":
        credentials_path = worker_keys(state, name) / credentials_file(token.address)
        credentials_path.unlink()
        raise UsageError(f"this join token is for a {enrolled.role}; it is used up now. Ask for one for a worker")
    found = worker_credentials(state, name, token.address)
    assert found is not None
    return found
