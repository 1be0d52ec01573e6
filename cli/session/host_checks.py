"""Checks this host for what runs need besides Docker: git, the coordinator's port, this user's keys."""

from __future__ import annotations

import re
import shutil
import socket
import stat
import subprocess
from collections.abc import Iterator

from cli.options.common import Target
from daemon.executors.docker.checkup import Check
from protocol.addresses import DEFAULT_COORDINATOR
from protocol.errors import LongshoreError
from protocol.keys import find_credentials, published_directory

OLDEST_GIT = (2, 25)
"""Partial clones and sparse trees, as includes and snapshots use them."""


def check_host(where: Target, *, serves: bool) -> Iterator[Check]:
    """Raises nothing. `serves`: a coordinator of this user answers, so that its port is taken rightly."""
    yield _check_git()
    if where.coordinator is None:
        yield _check_port(serves)
    yield _check_keys(where)


def _check_git() -> Check:
    mend = f"install git {OLDEST_GIT[0]}.{OLDEST_GIT[1]} or newer (on Debian and Ubuntu: apt-get install git)"
    program = shutil.which("git")
    if program is None:
        return Check("git", "error", "is not installed: no repository can be run", mend)
    asked = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    version = asked.stdout.strip().removeprefix("git version ")
    numbers = re.match(r"(\d+)\.(\d+)", version)
    if numbers is None:
        return Check("git", "error", f"{program} does not say its version", mend)
    if tuple(map(int, numbers.groups())) < OLDEST_GIT:
        return Check("git", "error", f"{version} is too old", mend)
    return Check("git", "ok", f"{version} at {program}")


def _check_port(serves: bool) -> Check:
    """Whether `longshore up` and `longshore coordinator` can listen where they do by default."""
    host, _, port = DEFAULT_COORDINATOR.removeprefix("tcp://").rpartition(":")
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, int(port)))
        except OSError as error:
            if serves:
                return Check("port", "ok", f"{DEFAULT_COORDINATOR} is taken, and a coordinator of yours answers")
            message = f"a coordinator can't listen at {DEFAULT_COORDINATOR}: {error.strerror}"
            return Check("port", "warning", message, "end the process that does, or give another address by --bind")
    return Check("port", "ok", f"{DEFAULT_COORDINATOR} is free for a coordinator")


def _check_keys(where: Target) -> Check:
    directory = published_directory()
    if directory.is_dir() and (mode := stat.S_IMODE(directory.stat().st_mode)) & 0o077:
        message = f"other users can read this user's keys (mode {mode:o})"
        return Check("keys", "error", message, f"chmod 700 {directory}")
    if where.coordinator is None:
        return Check("keys", "ok", "none is needed for a coordinator of one's own")
    try:
        known = find_credentials(where.coordinator)
    except LongshoreError as error:
        return Check("keys", "error", str(error), "remove that file, and `longshore login TOKEN` anew")
    if known is None:
        message = f"this user has no key for {where.coordinator}"
        return Check("keys", "warning", message, "`longshore login TOKEN`; `longshore token create` makes a join token")
    return Check("keys", "ok", f"this user has a key for {where.coordinator}")
