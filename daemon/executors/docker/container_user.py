"""Finds the owner of a job's files: the user that its container runs as."""

from __future__ import annotations

import tarfile
from collections.abc import Iterable

from daemon.executors.docker.api_client import DockerClient, EngineError
from daemon.tar_stream import ROOT, Owner

FILE_BYTES = 4 << 20
"""Maximum bytes read of a passwd or group file."""


def is_root(user: str) -> bool:
    """Whether `user` (`name`, `uid`, each with `:group` or not; "" is none) is root, without reading the image."""
    name, _, group = user.partition(":")
    return name in ("", "0", "root") and group in ("", "0", "root")


def owner_of(engine: DockerClient, container: str, user: str) -> Owner:
    """The numeric `user` (`name`, `uid`, each with `:group` or not) in a container, as Docker resolves it.

    Raises EngineError. A name unknown to the image is root here: then the container's start fails.
    """
    if is_root(user):
        return ROOT
    name, _, group = user.partition(":")
    uid, gid = _entry(_lines(engine, container, "/etc/passwd"), name)
    if group:
        gid, _ = _entry(_lines(engine, container, "/etc/group"), group)
    return Owner(uid, gid)


def _entry(lines: Iterable[str], wanted: str) -> tuple[int, int]:
    """Third and fourth field of the line whose first or third is `wanted`; a number without a line is itself."""
    for line in lines:
        fields = [*line.split(":"), "", "", "", ""]
        if wanted in (fields[0], fields[2]) and fields[2].isdigit():
            return int(fields[2]), int(fields[3]) if fields[3].isdigit() else 0
    return (int(wanted), 0) if wanted.isdigit() else (0, 0)


def _lines(engine: DockerClient, container: str, path: str) -> list[str]:
    try:
        with (
            engine.get_archive(container, path) as stream,
            tarfile.open(fileobj=stream, mode="r|") as tar,
        ):
            for member in tar:
                if file := tar.extractfile(member):
                    return file.read(FILE_BYTES).decode(errors="replace").splitlines()
    except EngineError as error:
        if error.status != 404:
            raise
    return []
