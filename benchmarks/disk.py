"""Disk used by a worker's containers and volumes, and by whole file systems, measured from outside."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from benchmarks.harness import Missing


def docker_root() -> Path:
    """The directory of Docker's data. Raises Missing if this user can't look into it."""
    root = Path(_docker("info", "--format", "{{.DockerRootDir}}").strip() or "/nowhere")
    if not os.access(root / "volumes", os.R_OK | os.X_OK):
        raise Missing("Docker's data is not on a disk of this machine that this user may read")
    return root


def used(*places: Path) -> int:
    """Bytes in use on the file systems that have these directories."""
    os.sync()
    systems = {place.stat().st_dev: os.statvfs(place) for place in places}
    return sum((each.f_blocks - each.f_bfree) * each.f_frsize for each in systems.values())


def size_of(folder: Path) -> int:
    """Bytes that the files below a directory occupy, each file once."""
    found: dict[tuple[int, int], int] = {}
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                status = os.lstat(os.path.join(place, name))
            except FileNotFoundError:
                continue
            found[status.st_dev, status.st_ino] = status.st_blocks * 512
    return sum(found.values())


def belongings(word: str) -> int:
    """Bytes of all containers and volumes with this word in their labels. A mount of other volumes counts nothing."""
    size = 0
    for container in _labelled(word, "ps", "--all", "--format", "{{.ID}} {{.Labels}}"):
        size += int(_inspect("container", "inspect", "--size", container).get("SizeRw") or 0)
    for volume in _labelled(word, "volume", "ls", "--format", "{{.Name}} {{.Labels}}"):
        described = _inspect("volume", "inspect", volume)
        if not described.get("Options"):
            size += size_of(Path(described["Mountpoint"]))
    return size


def _labelled(word: str, *listing: str) -> list[str]:
    return [line.split()[0] for line in _docker(*listing).splitlines() if word in line]


def _inspect(*words: str) -> dict[str, Any]:
    (found,) = json.loads(_docker(*words))
    return dict(found)


def _docker(*words: str) -> str:
    done = subprocess.run(["docker", *words], capture_output=True, text=True)
    if done.returncode:
        raise Missing(f"docker {words[0]}: {done.stderr.strip()[-500:]}")
    return done.stdout
