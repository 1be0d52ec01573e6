"""Says everything wrong that can be said to a real coordinator, over its real sockets: `python -m tests.security.fuzz`.

Messages that make sense are truncated, mixed, repeated, reordered, cut into other frames and have bytes and fields
exchanged. What made a coordinator stumble is kept in `corpus/`, which the tests replay.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import random
import socket
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import msgpack
import zmq

from protocol import messages as m
from protocol.addresses import parse_tcp
from protocol.codec import encode
from protocol.dealer import connect_socket
from protocol.workspace import MOST_PACKS, GitWorkspace, Pack, TarWorkspace
from tests.security.messages import one_of_each
from tests.support.coordinator_process import Running
from tests.support.plans import job, plan

CORPUS = Path(__file__).parent / "corpus"
HISTORY = 400
"""So many of the last messages are kept when something goes wrong."""
MOST_GROWTH = 200 << 20
"""Bytes that the process may grow by, whatever it is sent."""
VALUES: list[Any] = [
    None, True, -1, 0, 1, 2**31, 2**63 - 1, 2**63, 2**64 - 1, -(2**63), 0.5, float("nan"), float("inf"), "", "\0",
    "1.1", "x" * 70_000, "\N{SNOWMAN}", b"", b"\xff" * 10, [], {}, [[]], {"": None}, [None] * 1000,
]  # fmt: skip

Frames = list[bytes]


class Fuzzer:
    """Makes messages out of a seed."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.good: list[Frames] = [
            [bytes(frame) for frame in encode(message)] for message in (*one_of_each(), *with_workspaces())
        ]
        for payload in (b"", b"x" * 10, b"y" * 5000):
            self.good.append([*map(bytes, encode(m.LogChunk(attempt="1.1", offset=0), payload))])
            self.good.append([*map(bytes, encode(m.BlobPut(id=1, digest="0" * 64, size=10, offset=0), payload))])
            self.good.append([*map(bytes, encode(m.CommandInput(command="c"), payload))])
            self.good.append([*map(bytes, encode(m.CommandOutput(command="c"), payload))])
        self.sent: list[Frames] = []

    def message(self) -> Frames:
        """The next one."""
        frames = list(self.dice.choice(self.good))
        way = self.dice.randrange(9)
        if way == 0 and self.sent:
            frames = self.dice.choice(self.sent)  # said before: repeated, reordered
        elif way == 1:
            frames = [self.dice.randbytes(self.dice.randrange(300)) for _ in range(self.dice.randrange(1, 5))]
        elif way == 2:
            frames[0] = frames[0][: self.dice.randrange(len(frames[0]) + 1)]
        elif way == 3:
            frames[0] = self._flipped(frames[0])
        elif way == 4:
            frames[0] = frames[0] + self.dice.choice(self.good)[0]
        elif way == 5:
            frames = frames + self.dice.choice(self.good)
        elif way <= 7:
            frames[0] = self._exchanged(frames[0])
        self.sent = [*self.sent[-HISTORY:], frames]
        return frames

    def _flipped(self, data: bytes) -> bytes:
        changed = bytearray(data)
        for _ in range(self.dice.randrange(1, 4)):
            if changed:
                changed[self.dice.randrange(len(changed))] = self.dice.randrange(256)
        return bytes(changed)

    def _exchanged(self, data: bytes) -> bytes:
        whole = fields = msgpack.unpackb(data)
        while (inner := _maps_in(fields)) and self.dice.randrange(2):
            fields = self.dice.choice(inner)
        for _ in range(self.dice.randrange(1, 3)):
            keys = [key for key in fields if key != "type" or not self.dice.randrange(10)]
            key = self.dice.choice(keys) if keys and self.dice.randrange(8) else "unknown"
            fields[key] = self.dice.choice(VALUES)
        with contextlib.suppress(OverflowError, ValueError):
            return bytes(msgpack.packb(whole))
        return data


def _maps_in(fields: dict[str, Any]) -> list[dict[str, Any]]:
    """The maps that are values of a map, also in lists."""
    values = [each for value in fields.values() for each in (value if isinstance(value, list) else [value])]
    return [value for value in values if isinstance(value, dict) and value]


def with_workspaces() -> list[m.Message]:
    """Submissions with either form of workspace, which are refused: their blobs do not exist."""
    forms = (
        GitWorkspace(
            snapshot="0" * 40,
            packs=[Pack(digest="0" * 64, size=1)] * MOST_PACKS,
            commits=["0" * 40] * 2000,
            shallow=["0" * 64],
            depth=20,
        ),
        TarWorkspace(digest="0" * 64, size=1),
    )
    return [m.SubmitRun(id=1, token="w", plan=plan(job("a")), workspace=form) for form in forms]


class Stumbled(Exception):
    """The coordinator has made a mistake."""


def check(running: Running) -> None:
    """Raises Stumbled if the coordinator is not as it should be."""
    coordinator = running.coordinator
    if not running.alive or coordinator.refused["internal"] or coordinator._stall is not None:
        raise Stumbled(f"alive: {running.alive}, refused: {dict(coordinator.refused)}, stall: {coordinator._stall}")
    with running.client(timeout=20) as client:
        client.snapshot(run=1)


def memory() -> int:
    """Bytes that this process has, the coordinator in it."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS")]
    return int(line.split()[1]) << 10


def say(running: Running, messages: list[Frames]) -> None:
    """Says messages on a connection of their own, after either hello."""
    for hello in (m.ClientHello(id=0, protocol=1), m.Hello(protocol=1, name="w1", session="s")):
        with connect_socket(zmq.Context.instance(), zmq.DEALER, running.address) as dealer:
            dealer.send_multipart(encode(hello))
            for frames in messages:
                dealer.send_multipart(frames)
            dealer.poll(2000)


def fuzz(seed: int, *, seconds: float = math.inf, messages: float = math.inf) -> int:
    """Goes on until so much time has passed, or so many messages were sent; returns their number.

    Raises Stumbled; the corpus then has what was said.
    """
    fuzzer = Fuzzer(seed)
    until = time.monotonic() + seconds
    count = 0
    with tempfile.TemporaryDirectory() as state, Running(Path(state)) as running, running.client() as client:
        client.submit_run(plan(job("a"), job("b", needs=["a"])))
        grown_from = memory()
        while time.monotonic() < until and count < messages:
            context: zmq.Context[Any] = zmq.Context.instance()
            role = fuzzer.dice.randrange(3)
            with connect_socket(context, zmq.DEALER, running.address, send_limit=0) as dealer:
                if role:
                    hello = (
                        m.Hello(protocol=1, name="w1", session="s") if role == 1 else m.ClientHello(id=0, protocol=1)
                    )
                    dealer.send_multipart(encode(hello))
                for _ in range(500):
                    dealer.send_multipart(fuzzer.message())
                    count += 1
                while dealer.poll(50):
                    dealer.recv_multipart()
            _garbage(running, fuzzer.dice)
            try:
                check(running)
                if memory() - grown_from > MOST_GROWTH:
                    raise Stumbled(f"memory has grown by {(memory() - grown_from) >> 20} MiB")
            except Exception as error:
                CORPUS.mkdir(exist_ok=True)
                path = CORPUS / f"seed-{seed}-{count}.msgpack"
                path.write_bytes(msgpack.packb(fuzzer.sent))
                raise Stumbled(f"{error}; see {path}") from error
        running.coordinator.store.load_unfinished()
    return count


def _garbage(running: Running, dice: random.Random) -> None:
    """Bytes that are no ZMTP, on both ports."""
    for address in (running.address, running.coordinator.feed.address):
        where = parse_tcp(address)
        with contextlib.suppress(OSError), socket.create_connection((where.host, where.port), timeout=5) as stream:
            stream.sendall(dice.choice([b"", b"\xff" + bytes(8) + b"\x7f\x03"]) + dice.randbytes(dice.randrange(500)))


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    try:
        count = fuzz(options.seed, seconds=options.seconds)
    except Stumbled as error:
        sys.exit(f"stumbled: {error}")
    print(f"{count} messages in {options.seconds:.0f} s; memory {memory() >> 20} MiB")


if __name__ == "__main__":
    main()
