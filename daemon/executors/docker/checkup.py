"""Checks a worker's host: an engine that limits its containers, free disk space, the correct time."""

from __future__ import annotations

import os
import shutil
import stat
import time
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import msgspec

from daemon.executors.docker.api_client import DockerClient, EngineError
from daemon.executors.docker.layers.overlays import OTHER_OWNERS
from protocol.errors import EngineUnavailable

DISK_FLOOR = 1 << 30
"""Free bytes below which a worker accepts no work."""
CLOCK_SECONDS = 5.0
"""Allowed difference between the clocks of engine and host: the maximum error of times in logs and views."""
BOUNDS = {"MemoryLimit": "memory", "CpuCfsQuota": "CPU time", "PidsLimit": "the number of processes"}


class Check(msgspec.Struct, frozen=True):
    """A check's name, its status, and, unless it is `ok`, the remedy."""

    name: str
    status: Literal["ok", "warning", "error"]
    message: str
    mend: str = ""


def check_engine(engine: DockerClient) -> Iterator[Check]:
    """Checks Docker and its resource limits. Raises nothing: a failure is a check's result."""
    try:
        info = engine.call("GET", "/info", patience=0)
    except (EngineError, EngineUnavailable, OSError) as error:
        message, _, mend = str(error).partition("): ")
        yield Check("docker", "error", message + (")" if mend else ""), mend or "check whether `docker info` works")
        return
    info = info if isinstance(info, dict) else {}
    facts = [f"Docker {info.get('ServerVersion', '?')}", info.get("OperatingSystem"), f"at {engine.endpoint.url}"]
    yield Check("docker", "ok", ", ".join(str(fact) for fact in facts if fact))
    missing = [what for key, what in BOUNDS.items() if info.get(key) is False]
    version = f"version {info.get('CgroupVersion', '?')}, driver {info.get('CgroupDriver', '?')}"
    if missing:
        message = f"{version}: Docker can't limit {', '.join(missing)} of a container"
        yield Check("cgroups", "warning", message, "enable these kernel controllers, or run Docker as root")
    else:
        yield Check("cgroups", "ok", version)
    yield _check_storage(info)
    yield from _check_images(engine)
    yield from _check_clock(info)
    root = Path(str(info.get("DockerRootDir") or ""))
    if engine.endpoint.local and root.is_absolute() and root.exists():
        yield _check_room("docker disk", root, "remove unused images (docker image prune)")


def _check_storage(info: Mapping[str, Any]) -> Check:
    """An overlay needs one on the engine's side, as that of containers, or each job's files are copied."""
    driver = str(info.get("Driver") or "unknown")
    options = " ".join(info.get("SecurityOptions") or ())
    because = next((f"the engine has the option {one}" for one in OTHER_OWNERS if f"name={one}" in options), "")
    mend = "use an engine of root without user namespaces, if large repositories are slow"
    if not because and "overlay" not in driver:
        because, mend = "no overlay", "use the driver overlay2, on a file system that has it (ext4, XFS)"
    if because:
        return Check("storage", "warning", f"driver {driver}: workers copy each job's files ({because})", mend)
    return Check("storage", "ok", f"driver {driver}")


def _check_images(engine: DockerClient) -> Iterator[Check]:
    try:
        images = engine.call("GET", "/images/json", patience=0)
    except (EngineError, EngineUnavailable, OSError) as error:
        yield Check("images", "error", f"can't be listed: {error}", "check whether `docker images` works")
        return
    named = sorted({tag for image in images or () for tag in image.get("RepoTags") or () if tag != "<none>:<none>"})
    some = f", as {named[0]}" if named else "; jobs pull theirs at first use"
    yield Check("images", "ok", f"{len(named)} named{some}")


def _check_clock(info: Mapping[str, Any]) -> Iterator[Check]:
    try:
        there = datetime.fromisoformat(str(info.get("SystemTime"))).timestamp()
    except ValueError:
        return
    apart = abs(there - time.time())
    if apart > CLOCK_SECONDS:
        message = f"Docker's clock and this host's are {apart:.0f} s apart"
        yield Check("clock", "warning", message, "synchronise both over the network (NTP)")
    else:
        yield Check("clock", "ok", "Docker's and this host's agree")


def check_state(state: Path) -> Iterator[Check]:
    """Checks the state directory and its disk. A missing one is checked by its nearest existing parent."""
    there = next(path for path in (state, *state.parents) if path.exists())
    if not there.is_dir():
        yield Check("state directory", "error", f"{there} is not a directory", "remove it, or set LONGSHORE_STATE")
        return
    if not os.access(there, os.R_OK | os.W_OK | os.X_OK):
        message = f"this user can't write to {there}"
        yield Check("state directory", "error", message, f"chown it ({there}), or set LONGSHORE_STATE to another one")
    elif there != state:
        yield Check("state directory", "ok", f"{state}, created by the first run")
    elif (mode := stat.S_IMODE(state.stat().st_mode)) & 0o077:
        message = f"other users can read {state} (mode {mode:o}), which holds keys and secrets"
        yield Check("state directory", "warning", message, f"chmod 700 {state}")
    else:
        yield Check("state directory", "ok", str(state))
    yield _check_room("disk", there, "free space; `longshore coordinator --keep-size` limits the size of old runs")


def _check_room(name: str, path: Path, mend: str) -> Check:
    free = shutil.disk_usage(path).free
    message = f"{free / (1 << 30):.1f} GiB free at {path}"
    if free < DISK_FLOOR:
        return Check(name, "error", f"{message}; a worker needs {DISK_FLOOR >> 30} GiB", mend)
    return Check(name, "ok", message)
