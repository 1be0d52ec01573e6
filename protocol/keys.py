"""Keys on this machine: what a client or worker shows a coordinator, and where such files lie. Opens no connection.

Every TCP socket of Longshore is encrypted by CURVE: the client knows the server's public key, and the server knows who
is at the other end by the client's. A file of credentials is named after the address that it is for. It is looked for
in the state directory first (where `login` and `worker --join` write it), then among those that coordinators of this
user have published for the time they run.
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
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import zmq

from protocol.addresses import WILDCARDS, TcpAddress, parse_tcp
from protocol.errors import UsageError
from protocol.places import state_directory

PRIVATE_FILE = 0o600
PRIVATE_DIRECTORY = 0o700
KEY_CHARACTERS = 40
"""A CURVE key in ZeroMQ's Z85 text."""
JOIN_PREFIX = "longshore-join-"
"""What join tokens begin with, so that a secret scanner (or a person) knows one by its looks."""
OURS = "coordinator.lock"
"""A directory that has this file is a coordinator's state directory."""
ACCESS = "access"
"""The folder of credentials in a state directory."""


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A CURVE key pair, both halves as Z85 text."""

    public: str
    secret: str

    def __repr__(self) -> str:  # a secret must not come out through a log line or an assertion
        return f"KeyPair({self.public})"


def new_key_pair() -> KeyPair:
    """A fresh key pair."""
    public, secret = zmq.curve_keypair()
    return KeyPair(public.decode(), secret.decode())


@dataclass(frozen=True, slots=True)
class Credentials:
    """How to connect to one coordinator: its public key, and the key pair that it knows us by."""

    server: str
    keys: KeyPair

    def apply(self, socket: zmq.Socket[bytes]) -> None:
        """Sets a socket up; before it connects."""
        socket.curve_serverkey = self.server.encode()
        socket.curve_publickey = self.keys.public.encode()
        socket.curve_secretkey = self.keys.secret.encode()


HANDSHAKE_FAILURES = zmq.EVENT_HANDSHAKE_FAILED_AUTH | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
"""Events of a socket's monitor: the other side does not know our key, or asks for one and got none."""


@dataclass(frozen=True, slots=True)
class JoinToken:
    """What `token create` prints, once, as one line of text."""

    address: str
    server: str
    secret: str

    def __repr__(self) -> str:
        return f"JoinToken({self.address})"

    def __str__(self) -> str:
        packed = json.dumps([self.address, self.server, self.secret], separators=(",", ":")).encode()
        return JOIN_PREFIX + base64.urlsafe_b64encode(packed).decode().rstrip("=")


def parse_join_token(text: str) -> JoinToken:
    """The parts of a join token. Raises UsageError, which does not repeat the text."""
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
            f"this is no join token: one begins with {JOIN_PREFIX!r} and is printed by `longshore token create`"
        ) from None
    return JoinToken(str(parse_tcp(address)), server, secret)


# --- places ----------------------------------------------------------------------------------------------------------


def published_directory() -> Path:
    """Where coordinators of this user tell the user's other processes how to connect, whatever LONGSHORE_STATE says."""
    return Path.home() / ".local" / "state" / "longshore" / "loopback"


def credentials_file(address: str) -> str:
    """The name of the file with the credentials for an address. Raises UsageError."""
    tcp = parse_tcp(address)
    host = "127.0.0.1" if tcp.host == "localhost" else tcp.host
    return f"{host.replace(':', '_')}-{tcp.port}.json"


def find_credentials(address: str) -> Credentials | None:
    """The credentials for the coordinator (or feed) at `address`; None if this user has none, or it is not TCP.

    What a process has published that lives goes before what one has left behind that does not: another coordinator may
    have come to its address. Raises UsageError for a file that others can read, or that makes no sense.
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
    """The credentials in a file; None if there is no such file. Raises UsageError."""
    told = read_private_json(path)
    if told is None:
        return None
    try:
        return Credentials(str(told["server"]), KeyPair(str(told["public"]), str(told["secret"])))
    except KeyError:
        raise UsageError(f"{path} is no file of credentials; remove it and log in again") from None


def _lives(pid: object) -> bool:
    """Whether a process is there; True for None: what needs none."""
    try:
        if pid is not None:
            os.kill(int(str(pid)), 0)
    except (ProcessLookupError, ValueError):
        return False
    except PermissionError:
        pass  # it lives, and is another user's
    return True


def save_credentials(directory: Path, address: str, credentials: Credentials, *, pid: int | None = None) -> Path:
    """Writes the credentials for an address; `pid` is of the process while which they are good, if they end with it."""
    directory.mkdir(parents=True, exist_ok=True, mode=PRIVATE_DIRECTORY)
    path = directory / credentials_file(address)
    told = {"address": address, "server": credentials.server, **asdict(credentials.keys)}
    write_private(path, json.dumps(told | ({"pid": pid} if pid else {})) + "\n")
    return path


def publish(addresses: Iterable[str], credentials: Credentials) -> list[Path]:
    """Tells this user's other processes how to connect, for as long as this process lives.

    Files of processes that are gone are removed. A home that can't be written to is no error: then only those find the
    coordinator who share its state directory.
    """
    directory = published_directory()
    if not Path.home().is_dir():  # a service's user may have none, which is not to be made
        return []
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=PRIVATE_DIRECTORY)
        _remove_stale(directory)
        return [save_credentials(directory, address, credentials, pid=os.getpid()) for address in addresses]
    except OSError:
        return []


def withdraw(paths: Iterable[Path]) -> None:
    """Takes back what this process has published."""
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
    """All that processes of this host may call the socket at `address`, which may listen on every interface.

    `host` is another name of this host.
    """
    tcp = parse_tcp(address)
    if tcp.host not in WILDCARDS:
        return [address]
    hosts = dict.fromkeys([tcp.host, "127.0.0.1", *([host] if host else [])])
    return [str(TcpAddress(each, tcp.port)) for each in hosts]


# --- private files ---------------------------------------------------------------------------------------------------


def make_private(directory: Path) -> None:
    """Makes a directory that only this user can look into; one that has others' things in it is left as it is."""
    directory.mkdir(parents=True, exist_ok=True, mode=PRIVATE_DIRECTORY)
    if not any(directory.iterdir()) or (directory / OURS).exists():
        directory.chmod(PRIVATE_DIRECTORY)


def write_private(path: Path, text: str) -> None:
    """Writes a file that only this user can read, whole or not at all."""
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
    """The text of a file that only this user may read; None if it is not there. Raises UsageError if others can."""
    try:
        with path.open() as file:
            facts = os.fstat(file.fileno())
            if facts.st_uid not in (os.geteuid(), 0):
                raise UsageError(f"{path} belongs to another user; it is not used")
            if stat.S_IMODE(facts.st_mode) & 0o077:
                raise UsageError(f"others can read {path}; take that away (chmod 600 {path}), or replace the key")
            return file.read()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except PermissionError as error:
        raise UsageError(f"can't read {path}: {error.strerror}") from error


def read_private_json(path: Path) -> dict[str, Any] | None:
    """The JSON object in such a file. Raises UsageError."""
    text = read_private(path)
    if text is None:
        return None
    try:
        told = json.loads(text)
    except ValueError:
        told = None
    if not isinstance(told, dict):
        raise UsageError(f"{path} is damaged; remove it")
    return told


def keep_key_pair(path: Path) -> KeyPair:
    """The key pair in a file, made at the first call. Raises UsageError."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=PRIVATE_DIRECTORY)
    with (path.parent / ".lock").open("a") as lock:  # two processes that start at once make one pair
        fcntl.flock(lock, fcntl.LOCK_EX)
        told = read_private_json(path)
        if told is not None:
            try:
                return KeyPair(str(told["public"]), str(told["secret"]))
            except KeyError:
                raise UsageError(f"{path} is no key pair; restore it from a backup or remove it") from None
        pair = new_key_pair()
        write_private(path, json.dumps(asdict(pair)) + "\n")
        return pair


def not_let_in(address: str, has_key: bool) -> str:
    """What to tell somebody whose connection was refused."""
    if has_key:
        return (
            f"{address} does not let you in: your key is not known there (any more); `longshore login TOKEN` lets you "
            "in again, by a new join token of its owner"
        )
    return (
        f"{address} lets nobody in without a key, and this user has none for it: use `longshore login TOKEN` with a "
        "join token, which its owner makes by `longshore token create`"
    )
