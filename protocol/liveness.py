"""How a socket notices that the host at the other end is gone. The kernel does it, not ZeroMQ.

ZeroMQ's own heartbeats are off: where messages wait unread, a peer that is killed and a heartbeat that is due end the
process (`Assertion failed: !_io_error`, libzmq 4.3.5), which anybody who is let in could bring about.
"""

from __future__ import annotations

import zmq

IDLE_SECONDS = 3
PROBE_SECONDS = 3
PROBES = 3
GONE_MILLISECONDS = 10_000
"""How long what was sent, or a probe, may stay without the other host's acknowledgement."""


def notice_dead_hosts(socket: zmq.Socket[bytes]) -> None:
    """Sets a socket up, before it binds or connects."""
    socket.set(zmq.TCP_KEEPALIVE, 1)
    socket.set(zmq.TCP_KEEPALIVE_IDLE, IDLE_SECONDS)
    socket.set(zmq.TCP_KEEPALIVE_INTVL, PROBE_SECONDS)
    socket.set(zmq.TCP_KEEPALIVE_CNT, PROBES)
    socket.set(zmq.TCP_MAXRT, GONE_MILLISECONDS)
