"""Limits of jobs on a worker: they can't reach beyond their containers unless the worker's operator allows it. Pure.

A pipeline file can't change this.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable

import msgspec

from daemon.executors.base import JobFailed
from protocol.errors import UsageError
from protocol.statuses import FailureReason

PIDS = 4096
"""Processes and threads per container: more than builds need, fewer than would bring a host down."""
PRIVILEGED = "privileged"
NEW_PRIVILEGES = "new-privileges"
VOLUME = "volume:"
NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9_.-]+")


class Policy(msgspec.Struct, frozen=True):
    """`volumes` are in Docker's bind syntax; `images` are patterns, none: any image. `pids` is per container."""

    privileged: bool = False
    new_privileges: bool = False
    volumes: tuple[str, ...] = ()
    images: tuple[str, ...] = ()
    pids: int = PIDS

    def check_image(self, name: str) -> None:
        """Raises JobFailed for a forbidden image or an invalid name: names become parts of URLs."""
        if any(part in ("", ".", "..") for part in name.split("/")):
            raise JobFailed(FailureReason.IMAGE_PULL_FAILURE, f"invalid image name: {name!r}")
        if self.images and not any(fnmatch.fnmatchcase(each, p) for each in _spellings(name) for p in self.images):
            allowed = ", ".join(self.images)
            message = f"image {name!r} is not allowed on this worker; allowed: {allowed} (--allow-image)"
            raise JobFailed(FailureReason.IMAGE_PULL_FAILURE, message)


def make_policy(worker: str, allowed: Iterable[str], images: Iterable[str], pids: int) -> Policy:
    """A worker's policy from its options. Raises UsageError for an unknown allowance."""
    volumes = []
    flags = set()
    for text in allowed:
        if text in (PRIVILEGED, NEW_PRIVILEGES):
            flags.add(text)
        elif text.startswith(VOLUME):
            volumes.append(_bind(worker, text.removeprefix(VOLUME)))
        else:
            raise UsageError(
                f"unknown --allow {text!r}; use {PRIVILEGED}, {NEW_PRIVILEGES} (sudo and similar tools), "
                "volume:/PATH (kept from job to job), volume:/HOST/PATH:/PATH[:ro]"
            )
    return Policy(PRIVILEGED in flags, NEW_PRIVILEGES in flags, tuple(volumes), tuple(images), pids)


def _bind(worker: str, text: str) -> str:
    parts = text.split(":")
    if all(part.startswith("/") for part in parts[:2]) and len(parts) <= 3 and parts[2:] in ([], ["ro"], ["rw"]):
        if len(parts) > 1:
            return text
        return f"longshore-{worker}-{NOT_IN_A_NAME.sub('-', text).strip('-') or 'root'}:{text}"
    raise UsageError(f"bad --allow volume:{text}: give volume:/PATH or volume:/HOST/PATH:/PATH[:ro]")


def _spellings(name: str) -> list[str]:
    """An image's names in patterns: as is, without its tag, with Docker's own registry spelled out.

    A digest takes precedence over a tag before it, which may then be anything.
    """
    plain = name.partition("@")[0]
    head, slash, last = plain.rpartition("/")
    names = list(dict.fromkeys([name, head + slash + last.partition(":")[0]]))
    first = plain.partition("/")[0]
    if not slash:
        names += [f"docker.io/library/{each}" for each in names]
    elif not ("." in first or ":" in first or first == "localhost"):
        names += [f"docker.io/{each}" for each in names]
    return names
