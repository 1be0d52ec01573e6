"""Keys and credentials files on this machine. Opens no connection.

Every TCP socket of Longshore is encrypted by CURVE: the client knows the server's public key, and the server identifies
the client by its key. A credentials file is named after its address. It is searched for in the state directory first
(where `login` and `worker --join` write it), then among those published by this user's running coordinators.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import fcntl
import json
import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import msgspec
import zmq

from protocol.addresses import WILDCARDS, TcpAddress, parse_tcp
from protocol.errors import UsageError
from protocol.files import PRIVATE_FILE
from protocol.places import home_directory, state_directory

PRIVATE_DIRECTORY = 0o700
KEY_CHARACTERS = 40
"""A CURVE key in ZeroMQ's Z85 text."""
JOIN_PREFIX = "longshore-join-"
"""Prefix of join tokens, by which secret scanners (and people) recognize one."""
OURS = "coordinator.lock"
"""Marker file of a coordinator's state directory."""
ACCESS = "access"
"""Folder of credentials in a state directory."""
SECURITY = "security"
"""Folder of a coordinator's own private keys in its state directory, which must never leave it."""
BESIDE: tuple[Literal["launcher", "web"], ...] = ("launcher", "web")
"""Roles of processes beside a coordinator, on its host and by its user; each has a key of its own."""


class KeyPair(msgspec.Struct, frozen=True):
    """A CURVE key pair, both halves as Z85 text."""

    public: str
    secret: str

    def __repr__(self) -> str:  # keeps the secret out of logs and assertions
        return f"KeyPair({self.public})"


def new_key_pair() -> KeyPair:
    """A newly generated key pair."""
    public, secret = zmq.curve_keypair()
    return KeyPair(public.decode(), secret.decode())


class Credentials(msgspec.Struct, frozen=True):
    """Credentials for one coordinator: its public key, and our key pair."""

    server: str
    keys: KeyPair

    def apply(self, socket: zmq.Socket[bytes]) -> None:
        """Configures a socket, before it connects."""
        socket.curve_serverkey = self.server.encode()
        socket.curve_publickey = self.keys.public.encode()
        socket.curve_secretkey = self.keys.secret.encode()


class JoinToken(msgspec.Struct, frozen=True):
    """A join token; `token create` prints it once, as one line of text."""

    address: str
    server: str
    secret: str

    def __repr__(self) -> str:
        return f"JoinToken({self.address})"

    def __str__(self) -> str:
        packed = json.dumps([self.address, self.server, self.secret], separators=(",", ":")).encode()
        return JOIN_PREFIX + base64.urlsafe_b64encode(packed).decode().rstrip("=")


def parse_join_token(text: str) -> JoinToken:
    """Parses a join token. Raises UsageError, without repeating the text."""
    text = text.strip()
    packed = text.removeprefix(JOIN_PREFIX)
    try:
        if packed == text:
            raise ValueError
        parts = json.loads(base64.urlsafe_b64decode(packed + "=" * (-len(packed) % 4)))
        address, server, secret = (str(part) for part in parts)
        if len(server) != KEY_CHARACTERS or not secret:
            raise ValueError
    except (ValueError, binascii.Error, TypeError):
        raise UsageError(
            f"not a join token: they begin with {JOIN_PREFIX!r} and are printed by `longshore token create`"
        ) from None
    return JoinToken(str(parse_tcp(address)), server, secret)


# --- places ----------------------------------------------------------------------------------------------------------


def published_directory() -> Path:
    """The directory of credentials published by this user's coordinators, independent of LONGSHORE_STATE."""
    return home_directory() / ".local" / "state" / "longshore" / "loopback"


def credentials_file(address: str) -> str:
    """The file name of the credentials for an address. Raises UsageError."""
    tcp = parse_tcp(address)
    host = "127.0.0.1" if tcp.host == "localhost" else tcp.host
    return f"{host.replace(':', '_')}-{tcp.port}.json"


def find_credentials(address: str) -> Credentials | None:
    """The credentials for the coordinator (or feed) at `address`; None if this user has none, or it is not TCP.

    Credentials of a living process precede those left behind by a dead one, as another coordinator may now have its
    address. Raises UsageError for a file that others can read, or that is malformed.
    """
    if not address.startswith("tcp://"):
        return None
    stale: Credentials | None = None
    for directory in (state_directory() / ACCESS, published_directory()):
        path = directory / credentials_file(address)
        if (found := read_credentials(path)) is not None:
            if _lives((read_private_json(path) or {}).get("pid")):
                return found
            stale = stale or found
    return stale


def read_credentials(path: Path) -> Credentials | None:
    """The credentials in a file; None if it does not exist. Raises UsageError."""
    content = read_private_json(path)
    if content is None:
        return None
    try:
        return Credentials(str(content["server"]), KeyPair(str(content["public"]), str(content["secret"])))
    except KeyError:
        raise UsageError(f"{path} is not a credentials file; remove it and log in again") from None


def _lives(pid: object) -> bool:
    """Whether a process exists; True for None, for credentials not bound to a process."""
    try:
        if pid is not None:
            os.kill(int(str(pid)), 0)
    except (ProcessLookupError, ValueError):
        return False
    except PermissionError:
        pass  # it exists, and belongs to another user
    return True


def save_credentials(directory: Path, address: str, credentials: Credentials, *, pid: int | None = None) -> Path:
    """Writes the credentials for an address; `pid` is the process with which they expire, if any."""
    directory.mkdir(parents=True, exist_ok=True, mode=PRIVATE_DIRECTORY)
    path = directory / credentials_file(address)
    content = {"address": address, "server": credentials.server, **msgspec.structs.asdict(credentials.keys)}
    write_private(path, json.dumps(content | ({"pid": pid} if pid else {})) + "\n")
    return path


def publish(addresses: Iterable[str], credentials: Credentials) -> list[Path]:
    """Publishes credentials to this user's other processes, for the lifetime of this process.

    Files of dead processes are removed. An unwritable home is no error: then only processes that share the state
    directory find the coordinator.
    """
    directory = published_directory()
    if not home_directory().is_dir():  # a service's user may have none; don't create it
        return []
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=PRIVATE_DIRECTORY)
        _remove_stale(directory)
        return [save_credentials(directory, address, credentials, pid=os.getpid()) for address in addresses]
    except OSError:
        return []


def withdraw(paths: Iterable[Path]) -> None:
    """Removes the credentials that this process has published."""
    for path in paths:
        with contextlib.suppress(OSError, UsageError):
            if (read_private_json(path) or {}).get("pid") == os.getpid():
                path.unlink()


def _remove_stale(directory: Path) -> None:
    for path in directory.glob("*.json"):
        with contextlib.suppress(OSError, UsageError):
            if not _lives((read_private_json(path) or {}).get("pid")):
                path.unlink()


def local_addresses(address: str, host: str | None = None) -> list[str]:
    """The addresses by which processes of this host reach the socket at `address`; several for a wildcard host.

    `host` is another name of this host.
    """
    tcp = parse_tcp(address)
    if tcp.host not in WILDCARDS:
        return [address]
    hosts = dict.fromkeys([tcp.host, "127.0.0.1", *([host] if host else [])])
    return [str(TcpAddress(each, tcp.port)) for each in hosts]


# --- private files ---------------------------------------------------------------------------------------------------


def make_private(directory: Path) -> None:
    """Makes a directory accessible to this user only; one that already has foreign contents keeps its mode."""
    directory.mkdir(parents=True, exist_ok=True, mode=PRIVATE_DIRECTORY)
    if not any(directory.iterdir()) or (directory / OURS).exists():
        directory.chmod(PRIVATE_DIRECTORY)


def write_private(path: Path, text: str) -> None:
    """Atomically writes a file that only this user can read."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    with contextlib.suppress(FileNotFoundError):
        partial.unlink()
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, PRIVATE_FILE)
    with open(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def read_private(path: Path) -> str | None:
    """The text of a private file; None if it does not exist. Raises UsageError if others can read it."""
    try:
        with path.open() as file:
            facts = os.fstat(file.fileno())
            if facts.st_uid not in (os.geteuid(), 0):
                raise UsageError(f"{path} belongs to another user; refusing to use it")
            if stat.S_IMODE(facts.st_mode) & 0o077:
                raise UsageError(f"others can read {path}; restrict it (chmod 600 {path}), or replace the key")
            return file.read()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except PermissionError as error:
        raise UsageError(f"can't read {path}: {error.strerror}") from error


def read_private_json(path: Path) -> dict[str, Any] | None:
    """The JSON object in a private file; None if it does not exist. Raises UsageError."""
    text = read_private(path)
    if text is None:
        return None
    try:
        content = json.loads(text)
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise UsageError(f"{path} is damaged; remove it")
    return content


def keep_key_pair(path: Path) -> KeyPair:
    """The key pair in a file, created if missing. Raises UsageError."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=PRIVATE_DIRECTORY)
    with (path.parent / ".lock").open("a") as lock:  # processes that start concurrently share one pair
        fcntl.flock(lock, fcntl.LOCK_EX)
        content = read_private_json(path)
        if content is not None:
            try:
                return KeyPair(str(content["public"]), str(content["secret"]))
            except KeyError:
                raise UsageError(f"{path} is not a key pair; restore it from a backup or remove it") from None
        pair = new_key_pair()
        write_private(path, json.dumps(msgspec.structs.asdict(pair)) + "\n")
        return pair


def key_beside(state: Path, role: str) -> Path:
    """The file of the key pair of a process beside the coordinator of a state directory."""
    return state / SECURITY / f"{role}.key"


def credentials_beside(state: Path, role: str, address: str) -> Credentials | None:
    """The credentials of a process beside the coordinator at `address`, which has the state directory `state`.

    None without encryption. Raises UsageError for damaged files.
    """
    owner = find_credentials(address)
    return None if owner is None else Credentials(owner.server, keep_key_pair(key_beside(state, role)))


def credentials_beside_or_own(state: Path, role: str, address: str) -> Credentials | None:
    """Those of a process beside the coordinator at `address` if it has the state directory `state`; else this user's.

    None without encryption. Raises UsageError for damaged files.
    """
    own = find_credentials(address)
    coordinator = read_private_json(state / SECURITY / "coordinator.key")
    if own is None or coordinator is None or coordinator.get("public") != own.server:
        return own
    return credentials_beside(state, role, address)


def not_let_in(address: str, has_key: bool) -> str:
    """The error message for a refused connection."""
    if has_key:
        return (
            f"{address} refused your key, which is unknown or revoked there; ask its owner for a new join token and "
            "use `longshore login TOKEN`"
        )
    return (
        f"{address} requires a key, and this user has none for it: use `longshore login TOKEN` with a join token, "
        "which its owner creates with `longshore token create`"
    )
