"""Detection of dead hosts by TCP keepalive, in the kernel instead of ZeroMQ.

ZeroMQ's own heartbeats stay off: with unread messages queued, a killed peer and a due heartbeat abort the process
(`Assertion failed: !_io_error`, libzmq 4.3.5), which any admitted peer could provoke.
"""

from __future__ import annotations

import zmq

IDLE_SECONDS = 3
PROBE_SECONDS = 3
PROBES = 3
GONE_MILLISECONDS = 10_000
"""Milliseconds that sent data or a probe may stay unacknowledged by the other host."""


def notice_dead_hosts(socket: zmq.Socket[bytes]) -> None:
    """Configures a socket, before it binds or connects."""
    socket.set(zmq.TCP_KEEPALIVE, 1)
    socket.set(zmq.TCP_KEEPALIVE_IDLE, IDLE_SECONDS)
    socket.set(zmq.TCP_KEEPALIVE_INTVL, PROBE_SECONDS)
    socket.set(zmq.TCP_KEEPALIVE_CNT, PROBES)
    socket.set(zmq.TCP_MAXRT, GONE_MILLISECONDS)
