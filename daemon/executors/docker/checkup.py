"""Looks at what a worker needs of its host: an engine that bounds its containers, room on the disk, the right time."""

from __future__ import annotations

import os
import shutil
import stat
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from daemon.executors.docker.api_client import DockerClient, EngineError
from protocol.errors import EngineUnavailable

DISK_FLOOR = 1 << 30
"""With less room than this a worker takes no work."""
CLOCK_SECONDS = 5.0
"""How far the clocks of engine and host may be apart: times in logs and views are then off by no more."""
BOUNDS = {"MemoryLimit": "memory", "CpuCfsQuota": "CPU time", "PidsLimit": "the number of processes"}


@dataclass(frozen=True, slots=True)
class Check:
    """What was looked at, how it is, and, unless it is `ok`, what to do."""

    name: str
    status: Literal["ok", "warning", "error"]
    message: str
    mend: str = ""


def check_engine(engine: DockerClient) -> Iterator[Check]:
    """Docker and what it can bound. Nothing is raised: what fails is told."""
    try:
        info = engine.call("GET", "/info", patience=0)
    except (EngineError, EngineUnavailable, OSError) as error:
        message, _, mend = str(error).partition("): ")
        yield Check("docker", "error", message + (")" if mend else ""), mend or "see whether `docker info` works")
        return
    info = info if isinstance(info, dict) else {}
    facts = [f"Docker {info.get('ServerVersion', '?')}", info.get("OperatingSystem"), f"at {engine.endpoint.url}"]
    yield Check("docker", "ok", ", ".join(str(fact) for fact in facts if fact))
    missing = [what for key, what in BOUNDS.items() if info.get(key) is False]
    version = f"version {info.get('CgroupVersion', '?')}, driver {info.get('CgroupDriver', '?')}"
    if missing:
        message = f"{version}: Docker can't bound {', '.join(missing)} of a container"
        yield Check("cgroups", "warning", message, "enable these controllers of the kernel, or run Docker as root")
    else:
        yield Check("cgroups", "ok", version)
    yield from _check_clock(info)
    root = Path(str(info.get("DockerRootDir") or ""))
    if engine.endpoint.local and root.is_absolute() and root.exists():
        yield _check_room("docker disk", root, "remove images that nobody needs (docker image prune)")


def _check_clock(info: Mapping[str, Any]) -> Iterator[Check]:
    try:
        there = datetime.fromisoformat(str(info.get("SystemTime"))).timestamp()
    except ValueError:
        return
    apart = abs(there - time.time())
    if apart > CLOCK_SECONDS:
        message = f"Docker's clock and this host's are {apart:.0f} s apart"
        yield Check("clock", "warning", message, "let both take their time from the network (NTP)")
    else:
        yield Check("clock", "ok", "Docker's and this host's agree")


def check_state(state: Path) -> Iterator[Check]:
    """The state directory and its disk. One that is not there yet is checked by what it would be made in."""
    there = next(path for path in (state, *state.parents) if path.exists())
    if not there.is_dir():
        yield Check("state directory", "error", f"{there} is no directory", "remove it, or set LONGSHORE_STATE")
        return
    if not os.access(there, os.R_OK | os.W_OK | os.X_OK):
        message = f"this user can't write to {there}"
        yield Check("state directory", "error", message, f"chown it ({there}), or set LONGSHORE_STATE to another one")
    elif there != state:
        yield Check("state directory", "ok", f"{state}, which the first run makes")
    elif (mode := stat.S_IMODE(state.stat().st_mode)) & 0o077:
        message = f"others can read {state} (mode {mode:o}): keys and secrets are in it"
        yield Check("state directory", "warning", message, f"chmod 700 {state}")
    else:
        yield Check("state directory", "ok", str(state))
    yield _check_room("disk", there, "make room; `longshore coordinator --keep-size` bounds what runs leave")


def _check_room(name: str, path: Path, mend: str) -> Check:
    free = shutil.disk_usage(path).free
    message = f"{free / (1 << 30):.1f} GiB free at {path}"
    if free < DISK_FLOOR:
        return Check(name, "error", f"{message}, of which a worker wants {DISK_FLOOR >> 30} GiB", mend)
    return Check(name, "ok", message)
