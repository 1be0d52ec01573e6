"""People who sign in at the web server with a join token as password.

A join token is redeemed once, by the web server on behalf of whoever shows it first: it enrols a key of that person,
and keeps it. From then on the token is the key's password, until the key is revoked. So each person has their own
name, role and lines in the audit.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from pathlib import Path

import msgspec

from protocol.client import Client
from protocol.errors import CoordinatorUnreachable, NotLetIn, UsageError
from protocol.keys import (
    Credentials,
    KeyPair,
    find_credentials,
    make_private,
    new_key_pair,
    parse_join_token,
    read_private_json,
    write_private,
)

log = logging.getLogger(__name__)

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,62}")
NAMELESS = "git"
"""Name of somebody whose client sends none."""
REQUEST_SECONDS = 5.0
LONGEST_PASSWORD = 1000


class User(msgspec.Struct, frozen=True):
    """Somebody with a key."""

    name: str
    role: str

    @property
    def acts(self) -> bool:
        """Whether they may start runs."""
        return self.role == "operator"


class Users:
    """The people of the coordinator at `address`; their keys are kept in `folder`. Its methods block."""

    def __init__(self, folder: Path, address: str) -> None:
        self._folder = folder
        self._address = address

    def sign_in(self, name: str, password: str) -> User | None:
        """Who has this password; None if it is wrong, or no longer valid.

        Raises UsageError for a token whose name is taken, CoordinatorUnreachable.
        """
        if len(password) > LONGEST_PASSWORD:
            return None
        try:
            token = parse_join_token(password)
        except UsageError:
            return None
        own = find_credentials(self._address)
        if own is not None and token.server != own.server:
            return None
        make_private(self._folder)
        path = self._folder / f"{hashlib.sha256(password.strip().encode()).hexdigest()}.json"
        kept = read_private_json(path)
        if kept is None:
            kept = {**msgspec.structs.asdict(new_key_pair()), "name": name if NAME.fullmatch(name) else NAMELESS}
            write_private(path, json.dumps(kept))  # before it is enrolled: the token can't be redeemed twice
        keys = Credentials(token.server, KeyPair(str(kept["public"]), str(kept["secret"])))
        try:
            with Client(self._address, timeout=REQUEST_SECONDS, name="web", credentials=keys) as client:
                if "role" not in kept:
                    enrolled = client.enrol(token.secret, str(kept["name"]))
                    kept |= {"name": enrolled.name, "role": enrolled.role}
                    write_private(path, json.dumps(kept))
                    log.info("%s %r has signed in for the first time", enrolled.role, enrolled.name)
                _ = client.welcome
        except CoordinatorUnreachable:
            raise
        except NotLetIn:
            path.unlink(missing_ok=True)
            return None
        except UsageError as error:
            path.unlink(missing_ok=True)
            if "taken" in str(error):
                raise
            return None
        return User(str(kept["name"]), str(kept["role"]))
