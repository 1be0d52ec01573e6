"""Network namespaces whose only link is ours: it can be cut, in one direction too, and it can delay and lose packets.

A pair of TUN devices per namespace, the packets between them carried by a thread of this process: so it needs no
kernel module (`tc netem`), and a cut is what it is with a pulled cable, silence, not a closed connection. Needs root.
"""

from __future__ import annotations

import fcntl
import heapq
import os
import random
import secrets
import select
import shutil
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000
PACKET = 65536
QUEUE_LENGTH = 1000
"""Packets on their way in one direction, at most; what comes on top is lost, as in a real router."""


class NoNamespaces(Exception):
    """This machine, or this user, can't make network namespaces."""


@dataclass(slots=True, eq=False)
class Link:
    """What connects one namespace. Directions are seen from the coordinator: `up` comes to it, `down` leaves it."""

    namespace: str
    host_device: str
    inner: int  # file descriptors of the two devices
    outer: int
    up: bool = True
    down: bool = True
    delay: float = 0.0  # seconds, each way
    loss: float = 0.0  # share of the packets, each way
    on_the_way: dict[int, int] = field(default_factory=dict)  # by the descriptor where they go

    def cut(self, *, up: bool = True, down: bool = True) -> None:
        """Loses all packets from now on, in the directions that are named."""
        self.up, self.down = self.up and not up, self.down and not down

    def shape(self, *, delay: float = 0.0, loss: float = 0.0) -> None:
        """Delays and loses packets from now on."""
        self.delay, self.loss = delay, loss

    def heal(self) -> None:
        """As new."""
        self.up = self.down = True
        self.delay = self.loss = 0.0


class Network:
    """Namespaces and their links. `address` is the coordinator's, to be reached from all of them and from this host."""

    def __init__(self) -> None:
        if os.geteuid() or not shutil.which("ip") or not os.path.exists("/dev/net/tun"):
            raise NoNamespaces("network namespaces need root, iproute2 and /dev/net/tun")
        self._tag = secrets.token_hex(2)
        self._net, self._reserved = free_net()
        self.address = f"{self._net}.1"
        self._random = random.Random(0)
        self._links: list[Link] = []
        self._stop = threading.Event()
        self._lock = threading.Lock()
        ip("addr", "add", f"{self.address}/32", "dev", "lo")
        self._thread = threading.Thread(target=self._carry, name="network", daemon=True)
        self._thread.start()

    def add(self) -> Link:
        """A new namespace. `System.spawn` runs something in it."""
        number = len(self._links) + 10
        namespace = f"longshore-{self._tag}-{number}"
        outer_name, inner_name = f"ls{self._tag}o{number}", f"ls{self._tag}i{number}"
        address = f"{self._net}.{number}"
        ip("netns", "add", namespace)
        outer, inner = _tun(outer_name), _tun(inner_name)
        ip("link", "set", inner_name, "netns", namespace)
        ip("link", "set", outer_name, "up")
        ip("route", "add", f"{address}/32", "dev", outer_name)
        for command in (
            ("link", "set", "lo", "up"),
            ("link", "set", inner_name, "up"),
            ("addr", "add", f"{address}/32", "dev", inner_name),
            ("route", "add", "default", "dev", inner_name, "src", address),
        ):
            ip("-n", namespace, *command)
        link = Link(namespace, outer_name, inner, outer)
        with self._lock:
            self._links.append(link)
        return link

    def close(self) -> None:
        """Removes all of it. What still runs in the namespaces is cut off for good."""
        self._stop.set()
        self._thread.join()
        for link in self._links:
            os.close(link.inner)
            os.close(link.outer)
            ip("netns", "del", link.namespace)
        ip("addr", "del", f"{self.address}/32", "dev", "lo")
        self._reserved.close()

    def _carry(self) -> None:
        """The body of the thread that is the cable."""
        due: list[tuple[float, int, int, bytes, Link]] = []
        count = 0
        while not self._stop.is_set():
            with self._lock:
                ends = {link.inner: (link, link.outer) for link in self._links}
                ends |= {link.outer: (link, link.inner) for link in self._links}
            wait = min(0.05, max(0.0, due[0][0] - time.monotonic())) if due else 0.05
            ready, _, _ = select.select(list(ends), [], [], wait)
            for descriptor in ready:
                link, target = ends[descriptor]
                with suppress(BlockingIOError):
                    packet = os.read(descriptor, PACKET)
                    passes = link.up if descriptor == link.inner else link.down
                    full = link.on_the_way.get(target, 0) >= QUEUE_LENGTH
                    if not passes or full or (link.loss and self._random.random() < link.loss):
                        continue
                    count += 1
                    link.on_the_way[target] = link.on_the_way.get(target, 0) + 1
                    heapq.heappush(due, (time.monotonic() + link.delay, count, target, packet, link))
            now = time.monotonic()
            while due and due[0][0] <= now:
                _, _, target, packet, link = heapq.heappop(due)
                link.on_the_way[target] -= 1
                with suppress(OSError):
                    os.write(target, packet)


@contextmanager
def network() -> Iterator[Network]:
    """A network, gone afterwards. Raises NoNamespaces."""
    made = Network()
    try:
        yield made
    finally:
        made.close()


def _tun(name: str) -> int:
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    fcntl.ioctl(descriptor, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TUN | IFF_NO_PI))
    return descriptor


def ip(*arguments: str) -> str:
    """Runs `ip ARGUMENTS`. Raises NoNamespaces with what it says."""
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True)
    if done.returncode:
        raise NoNamespaces(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


def free_net() -> tuple[str, socket.socket]:
    """The first three numbers of addresses that nobody on this host uses, and what keeps other tests from taking them
    too until it is closed: a name that belongs to the network namespace, as the addresses do.
    """
    used = ip("-o", "addr") + ip("route")
    for number in range(200):
        net, reserved = f"10.231.{number}", socket.socket(socket.AF_UNIX)
        try:
            reserved.bind(f"\0longshore-tests-{net}")
        except OSError:
            reserved.close()
            continue
        if f"{net}." not in used:
            return net, reserved
        reserved.close()
    raise NoNamespaces("no free addresses below 10.231.0.0/16")
