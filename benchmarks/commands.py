"""Measures whole commands from outside, as a user with a stopwatch would."""

from __future__ import annotations

import os
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.fleet import BenchmarkFailed


def timed(command: list[str], folder: Path, environment: dict[str, str] | None = None) -> float:
    """Seconds from a command's start to its end. Raises BenchmarkFailed if it fails."""
    started = time.perf_counter()
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, stdin=subprocess.DEVNULL)
    seconds = time.perf_counter() - started
    if done.returncode:
        said = (done.stdout + done.stderr).decode(errors="replace")[-2000:]
        raise BenchmarkFailed(f"{' '.join(command)} exited with status {done.returncode}: {said}")
    return seconds


@dataclass(frozen=True, slots=True)
class Usage:
    """CPU time of a command and of what it has waited for, and the memory of the largest of these at its peak."""

    seconds: float
    megabytes: float


def used(command: list[str], folder: Path, environment: dict[str, str] | None = None) -> Usage:
    """What a command takes. Raises BenchmarkFailed if it fails."""
    process = subprocess.Popen(
        command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    _, status, taken = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise BenchmarkFailed(f"{' '.join(command)} exited with status {process.returncode}")
    return Usage(taken.ru_utime + taken.ru_stime, taken.ru_maxrss * 1024 / 1e6)
