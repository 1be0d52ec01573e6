"""What others may call this host. Asks the kernel for its routes; sends nothing."""

from __future__ import annotations

import contextlib
import socket

ELSEWHERE = ("192.0.2.1", 9)
"""An address for documentation (RFC 5737): where the kernel would send from to reach it is our address to others."""


def own_address() -> str:
    """This host's address as other hosts see it, else its name."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(ELSEWHERE)
        return str(probe.getsockname()[0])
    return socket.gethostname()
