"""What the dashboard does through the `longshore` command: starting a run, and a shell in a job's container."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from protocol.errors import LongshoreError


def longshore_command() -> list[str]:
    """The `longshore` command of this Python installation, else the one on the PATH."""
    beside = Path(sys.executable).with_name("longshore")
    found = str(beside) if beside.exists() else shutil.which("longshore")
    if found is None:
        raise LongshoreError("the `longshore` command is not on the path, so no run can be started from here")
    return [found]


def run_shell(address: str, run: int, job: str) -> int:
    """Runs a shell in a job's container on this process's terminal, until it ends. Returns its exit status.

    Raises LongshoreError with the reason if it could not be opened, or broke off.
    """
    with tempfile.TemporaryFile() as errors:
        command = [*longshore_command(), "shell", "--coordinator", address, "--", str(run), job]
        status = subprocess.run(command, stderr=errors, check=False).returncode
        errors.seek(0)
        if said := errors.read().decode(errors="replace").strip():
            raise LongshoreError(said.removeprefix("longshore: "))
    return status


async def start_run(address: str, file: str, variables: list[str]) -> int:
    """Submits a run to the coordinator at `address` and returns its id. Raises LongshoreError with the reason."""
    command = [*longshore_command(), "run", str(Path(file).expanduser()), "--detach", "--coordinator", address]
    for variable in variables:
        command += ["--var", variable]
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "NO_COLOR": "1"},
    )
    output, errors = await process.communicate()
    if process.returncode != 0:
        raise LongshoreError(
            errors.decode(errors="replace").strip() or f"`longshore run` ended with {process.returncode}"
        )
    number = re.search(rb"\d+", output)
    if number is None:
        raise LongshoreError(f"`longshore run` printed no run id: {output.decode(errors='replace').strip()!r}")
    return int(number[0])
