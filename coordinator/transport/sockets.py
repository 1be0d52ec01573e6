"""How the coordinator's sockets are bound and kept from strangers."""

from __future__ import annotations

import zmq

from protocol.addresses import parse_tcp
from protocol.errors import UsageError
from protocol.keys import KeyPair

HANDSHAKE_MS = 10_000
"""How long a connection may take to say who it is; then it is closed, so that silence takes no room."""


def serve_curve(socket: zmq.Socket[bytes], keys: KeyPair, domain: bytes) -> None:
    """Lets a socket take encrypted connections only, by those whom the authenticator lets in; before it binds."""
    socket.curve_server = True
    socket.curve_secretkey = keys.secret.encode()
    socket.set(zmq.ZAP_DOMAIN, domain)
    socket.set(zmq.ZAP_ENFORCE_DOMAIN, 1)


def bind_socket(socket: zmq.Socket[bytes], bind: str) -> str:
    """Binds, and returns where, with the port that it got. Raises UsageError, the socket closed, if it can't."""
    try:
        if bind.startswith("tcp://"):
            parse_tcp(bind)
        socket.set(zmq.IPV6, "[" in bind)  # only then: an IPv4 address would be told as a mapped one
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
