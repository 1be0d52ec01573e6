"""Times whole commands from outside, as a user with a stopwatch would."""

from __future__ import annotations

import subprocess
import time
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
