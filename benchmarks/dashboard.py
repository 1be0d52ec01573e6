#!/usr/bin/env python3
"""Measures the dashboard under load: key-to-paint latency and memory use.

    .venv/bin/python benchmarks/dashboard.py

A real coordinator in a process of its own has 1,000 runs, one of them with 2,000 jobs, 100 workers, and a job whose log
has 1,000,000 lines and grows by 10,000 lines a second. The real dashboard runs in a terminal (a pty); a key's latency
is from the input of its byte to the output of the resulting change.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import pty
import re
import select
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
from collections.abc import Callable
from pathlib import Path

import zmq

from protocol import PROTOCOL_VERSION
from protocol import messages as m
from protocol.client import Client
from protocol.codec import decode_for_worker, each_of, encode
from protocol.dealer import connect_socket
from protocol.plan import JobPlan, Plan, Resources
from protocol.statuses import ExecutionStatus

LONGSHORE = Path(sys.executable).with_name("longshore")
ROWS, COLUMNS = 40, 120
RUNS, JOBS, WORKERS = 1000, 2000, 100
LINES, LINES_PER_SECOND = 1_000_000, 10_000
KEYS = 60
"""Key presses measured on each screen."""
LINE = b"\x1b[32m%07d\x1b[0m compiling a file with a name of usual length ... ok\n"
LOG_LIMIT = 1 << 30
"""Bytes; larger than the log will get."""
MOST_MILLISECONDS, MOST_MEGABYTES = 50.0, 200.0


def plan(name: str, jobs: list[JobPlan]) -> Plan:
    """A plan of these jobs."""
    stages = list(dict.fromkeys(job.stage for job in jobs))
    return Plan(name=name, project="bench", project_dir="/builds/bench", stages=stages, jobs=jobs)


class Workers:
    """100 workers on one thread; the first one runs the job with the log."""

    def __init__(self, address: str) -> None:
        self.rate = 0
        self.attempt = ""
        self.size = 0
        self.acked = 0
        self._line = 0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(address,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stops them."""
        self._stopping.set()
        self._thread.join(5)

    def write(self, lines: int) -> bytes:
        """Writes the next lines of the log."""
        first, self._line = self._line, self._line + lines
        return b"".join(LINE % number for number in range(first, self._line))

    def _run(self, address: str) -> None:
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context.instance()
        sockets = [connect_socket(context, zmq.DEALER, address) for _ in range(WORKERS)]
        for number, socket in enumerate(sockets):
            hello = m.Hello(
                protocol=PROTOCOL_VERSION,
                name=f"worker-{number:03}",
                session=str(number),
                labels=["log"] if number == 0 else [f"rack-{number % 7}"],
                run_untagged=False,
                slots=4,
            )
            socket.send_multipart(encode(hello))
        logger = sockets[0]
        beat = tick = time.monotonic()
        while not self._stopping.is_set():
            while logger.poll(5):
                for message in each_of(decode_for_worker(logger.recv_multipart())[0]):
                    if isinstance(message, m.AssignJob):
                        self.attempt = message.assignment.attempt
                        for seq, status in enumerate((ExecutionStatus.PREPARING, ExecutionStatus.RUNNING), 1):
                            logger.send_multipart(encode(m.JobStatus(attempt=self.attempt, seq=seq, status=status)))
                    elif isinstance(message, m.Ack) and message.log_offset is not None:
                        self.acked = message.log_offset
            now = time.monotonic()
            if self.attempt and self._line < LINES and self.size - self.acked < 8 << 20:
                self._send(logger, self.write(8000))
            elif self.rate and now - tick > 0.05:
                self._send(logger, self.write(int(self.rate * (now - tick))))
                tick = now
            elif not self.rate:
                tick = now
            if now - beat > 2:
                beat = now
                for socket in sockets:
                    socket.send_multipart(encode(m.Heartbeat()))
        for socket in sockets:
            socket.close(linger=0)

    def _send(self, socket: zmq.Socket[bytes], data: bytes) -> None:
        socket.send_multipart(encode(m.LogChunk(attempt=self.attempt, offset=self.size), data))
        self.size += len(data)


class Terminal:
    """The dashboard in a pty."""

    def __init__(self, address: str, state: str) -> None:
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.environ.update(
                TERM="xterm-256color", COLORTERM="truecolor", LONGSHORE_COORDINATOR=address, LONGSHORE_STATE=state
            )
            os.execv(LONGSHORE, [str(LONGSHORE), "tui"])
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        self._bytes = b""

    def read(self, seconds: float) -> bytes:
        """Output within that time; returns at the first output."""
        ready, _, _ = select.select([self.fd], [], [], seconds)
        if not ready:
            return b""
        data = os.read(self.fd, 1 << 16)
        if b"\x1b[6n" in data or b"\x1b[c" in data:
            os.write(self.fd, b"\x1b[1;1R\x1b[?1;2c")
        return data

    def settle(self, quiet: float = 0.3, most: float = 10.0) -> None:
        """Reads until there has been no output for `quiet` seconds."""
        deadline = time.monotonic() + most
        while time.monotonic() < deadline and self.read(quiet):
            pass

    def drain(self) -> None:
        """Reads pending output."""
        while self.read(0):
            pass

    def send(self, keys: bytes) -> None:
        """Presses keys."""
        os.write(self.fd, keys)

    def expect(self, text: str, within: float = 20.0) -> float:
        """Reads until a text appears; returns the seconds it took."""
        began, seen, wanted = time.monotonic(), b"", text.encode()
        while time.monotonic() - began < within:
            seen = (seen + self.read(0.05))[-200_000:]
            if wanted in re.sub(rb"\x1b\[[0-9;?]*[a-zA-Z]", b"", seen):
                return time.monotonic() - began
        raise SystemExit(f"the dashboard did not show {text!r}; it showed {seen[-2000:]!r}")

    def press(self, key: bytes, shows: str) -> float:
        """Presses a key; returns the milliseconds until its effect is painted."""
        self.drain()
        self.send(key)
        return self.expect(shows) * 1000

    @property
    def megabytes(self) -> float:
        """Peak resident memory."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) / 1024  # type: ignore[index]

    @property
    def cpu_seconds(self) -> float:
        """Processor time so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def close(self) -> None:
        """Ends the dashboard."""
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self.fd)


def wait(claim: Callable[[], object], what: str, within: float = 120.0) -> None:
    """Waits until a claim is true."""
    deadline = time.monotonic() + within
    while not claim():
        if time.monotonic() > deadline:
            raise SystemExit(f"timed out after {within} s: {what}")
        time.sleep(0.02)


def fill(address: str) -> Workers:
    """Fills the coordinator with the benchmark's runs, jobs, workers and log."""
    workers = Workers(address)
    with Client(address, timeout=60) as client:
        wait(lambda: len(client.workers()) == WORKERS, "all workers are online")
        nowhere = ["nowhere"]
        small = plan("small", [JobPlan(name="job", stage="build", script=["true"], tags=nowhere)])
        for number in range(RUNS - 2):
            client.submit_run(small, source=m.Source(ref=f"branch-{number % 9}", sha=f"{number:040x}"))
        many = [
            JobPlan(name=f"job {number:04}", stage=f"stage {number * 4 // JOBS}", script=["true"], tags=nowhere)
            for number in range(JOBS)
        ]
        client.submit_run(plan("many jobs", many))
        long = Resources(log_limit=LOG_LIMIT)
        writer = JobPlan(name="writer", stage="build", script=["true"], tags=["log"], resources=long)
        client.submit_run(plan("log", [writer]))
    wait(lambda: workers.acked and workers.acked == workers.size and workers.acked > 50 * LINES, "the log is stored")
    return workers


def report(name: str, times: list[float]) -> bool:
    """Prints key latencies; returns whether they are within bounds."""
    median, worst = statistics.median(times), max(times)
    p95 = statistics.quantiles(times, n=20)[-1]
    print(f"{name:<44} key to paint: median {median:5.1f} ms   p95 {p95:5.1f} ms   worst {worst:5.1f} ms")
    return median < MOST_MILLISECONDS


def toggle(terminal: Terminal, key: bytes, shows: str) -> list[float]:
    """Toggles something on and off; returns the milliseconds of turning it on."""
    times = []
    for _ in range(KEYS // 2):
        times.append(terminal.press(key, shows))
        terminal.send(key)
        terminal.settle(quiet=0.15, most=0.3)
    return times


def main() -> int:
    """Measures; the exit status tells whether all results are within bounds."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    with tempfile.TemporaryDirectory(prefix="longshore-") as folder:
        environment = {**os.environ, "LONGSHORE_STATE": f"{folder}/state"}
        out, log = Path(folder) / "address", Path(folder) / "log"
        with out.open("wb") as stdout, log.open("wb") as stderr:
            command = [str(LONGSHORE), "coordinator", "--bind", "tcp://127.0.0.1:0"]
            coordinator = subprocess.Popen(command, env=environment, stdout=stdout, stderr=stderr)
        try:
            wait(lambda: out.read_text().strip(), "the coordinator listens", 20)
            return measure(out.read_text().strip(), folder)
        finally:
            coordinator.terminate()
            coordinator.wait(30)


def measure(address: str, folder: str) -> int:
    """Drives the dashboard through its screens; returns the exit status."""
    workers = fill(address)
    down, escape, enter = b"\x1b[B", b"\x1b", b"\r"
    good = True
    began = time.monotonic()
    terminal = Terminal(address, f"{folder}/client")
    try:
        terminal.expect("Progress")
        terminal.expect("many jobs")
        print(f"{'from start to the list of runs':<44} {time.monotonic() - began:.2f} s")
        terminal.settle()
        good &= report(f"{RUNS:,} runs", [terminal.press(down, "❯") for _ in range(KEYS)])
        terminal.send(b"g" + down + enter)
        terminal.expect("job 0001")
        terminal.settle()
        good &= report(f"a run of {JOBS:,} jobs", [terminal.press(down, "❯") for _ in range(KEYS)])
        terminal.send(b"v")
        terminal.settle(0.5)
        good &= report("the same as a graph", [terminal.press(down, "❯") for _ in range(KEYS)])
        terminal.send(b"v2")
        terminal.expect("worker-001")
        terminal.settle()
        good &= report(f"{WORKERS} workers", [terminal.press(down, "❯") for _ in range(KEYS)])
        terminal.send(b"1")
        terminal.settle()
        terminal.send(escape)
        terminal.expect("Progress")
        terminal.send(b"g" + enter)
        terminal.expect("writer")
        terminal.settle()
        began = time.monotonic()
        terminal.send(enter)
        terminal.expect(f"{LINES - 1:07}")
        print(f"{f'opening a log of {LINES:,} lines':<44} {time.monotonic() - began:.2f} s")
        terminal.settle(most=4)
        good &= report("that log", toggle(terminal, b"w", "wrapped"))
        workers.rate = LINES_PER_SECOND
        time.sleep(1)
        terminal.settle(most=1)
        used, at = terminal.cpu_seconds, time.monotonic()
        good &= report(f"the same, {LINES_PER_SECOND:,} lines/s arriving", toggle(terminal, b"w", "wrapped"))
        busy = (terminal.cpu_seconds - used) / (time.monotonic() - at)
        print(f"{'processor while they arrive':<44} {busy:.0%} of one core")
        terminal.send(b"/")
        terminal.expect("search in the log")
        terminal.send(b"0999998")
        began = time.monotonic()
        terminal.expect("1/1 match", within=60)
        print(f"{'searching the whole log':<44} {time.monotonic() - began:.2f} s")
        workers.rate = 0
        print(f"{'memory, at most':<44} {terminal.megabytes:.0f} MB")
        good &= terminal.megabytes < MOST_MEGABYTES
    finally:
        terminal.close()
        workers.stop()
    print("all within bounds" if good else f"NOT within {MOST_MILLISECONDS} ms at the median and {MOST_MEGABYTES} MB")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
