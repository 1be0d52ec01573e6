"""Binds and encrypts the coordinator's sockets."""

from __future__ import annotations

import zmq

from protocol.addresses import parse_tcp
from protocol.errors import UsageError
from protocol.keys import KeyPair

HANDSHAKE_MS = 10_000
"""Milliseconds until an unfinished handshake is closed, so that silent connections take no resources."""


def serve_curve(socket: zmq.Socket[bytes], keys: KeyPair, domain: bytes) -> None:
    """Restricts a socket to encrypted connections that the authenticator accepts. Call before it binds."""
    socket.curve_server = True
    socket.curve_secretkey = keys.secret.encode()
    socket.set(zmq.ZAP_DOMAIN, domain)
    socket.set(zmq.ZAP_ENFORCE_DOMAIN, 1)


def bind_socket(socket: zmq.Socket[bytes], bind: str) -> str:
    """Binds a socket and returns its address, with the actual port. On failure closes it and raises UsageError."""
    try:
        if bind.startswith("tcp://"):
            parse_tcp(bind)
        socket.set(zmq.IPV6, "[" in bind)  # only then: an IPv4 address would be reported as a mapped one
        socket.bind(bind)
    except UsageError:
        socket.close()
        raise
    except zmq.ZMQError as error:
        socket.close()
        raise UsageError(f"can't listen at {bind!r}: {error}") from error
    endpoint = socket.get(zmq.LAST_ENDPOINT)
    assert isinstance(endpoint, bytes)
    return endpoint.rstrip(b"\0").decode()
