"""Times that scripts of jobs print: the shell reads the clock itself, without another process."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from benchmarks.fleet import LONGSHORE, BenchmarkFailed

STAMP = re.compile(r"\| (\w+)=([0-9.]+)=$", re.MULTILINE)


def stamp(name: str) -> str:
    """The command of a script that prints the time under this name."""
    return f'echo "{name}=$EPOCHREALTIME="'


def run_with_stamps(project: Path, environment: dict[str, str], *names: str) -> dict[str, float]:
    """Runs a pipeline; the times that its jobs have printed under these names. Raises BenchmarkFailed."""
    command = [LONGSHORE, "run", "--plain"]
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, stdin=subprocess.DEVNULL)
    said = done.stdout.decode(errors="replace")
    found = {name: float(value) for name, value in STAMP.findall(said)}
    if done.returncode or found.keys() != set(names):
        raise BenchmarkFailed(f"longshore run ended with {done.returncode}: {said[-2000:]}")
    return found
