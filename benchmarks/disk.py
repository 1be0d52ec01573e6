"""What is used of the disks of a fleet and of Docker, measured from outside."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from benchmarks.harness import Missing


def docker_root() -> Path:
    """The directory of Docker's data, on this machine."""
    done = subprocess.run(["docker", "info", "--format", "{{.DockerRootDir}}"], capture_output=True, text=True)
    root = Path(done.stdout.strip() or "/nowhere")
    if done.returncode or not root.is_dir():
        raise Missing("Docker's data is not on a disk of this machine")
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
