"""What jobs may do on a worker: nothing that leaves their containers, unless the worker's operator allows it. Pure.

A pipeline file has no say in this.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable
from dataclasses import dataclass

from daemon.executors.base import JobFailed
from protocol.errors import UsageError
from protocol.statuses import FailureReason

PIDS = 4096
"""Processes and threads of one container: more than builds need, less than brings a host down."""
PRIVILEGED = "privileged"
NEW_PRIVILEGES = "new-privileges"
VOLUME = "volume:"
NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9_.-]+")


@dataclass(frozen=True, slots=True)
class Policy:
    """`volumes` are as Docker binds them; `images` are patterns, none: any image. `pids` is per container."""

    privileged: bool = False
    new_privileges: bool = False
    volumes: tuple[str, ...] = ()
    images: tuple[str, ...] = ()
    pids: int = PIDS

    def check_image(self, name: str) -> None:
        """Raises JobFailed for an image that is not to be run here, or that is none: names become parts of URLs."""
        if any(part in ("", ".", "..") for part in name.split("/")):
            raise JobFailed(FailureReason.IMAGE_PULL_FAILURE, f"no image can be called {name!r}")
        if self.images and not any(fnmatch.fnmatchcase(each, p) for each in _spellings(name) for p in self.images):
            allowed = ", ".join(self.images)
            message = f"image {name!r} is not allowed on this worker; it takes: {allowed} (--allow-image)"
            raise JobFailed(FailureReason.IMAGE_PULL_FAILURE, message)


def make_policy(worker: str, allowed: Iterable[str], images: Iterable[str], pids: int) -> Policy:
    """The policy of a worker from its options. Raises UsageError for an allowance that there is not."""
    volumes = []
    flags = set()
    for text in allowed:
        if text in (PRIVILEGED, NEW_PRIVILEGES):
            flags.add(text)
        elif text.startswith(VOLUME):
            volumes.append(_bind(worker, text.removeprefix(VOLUME)))
        else:
            raise UsageError(
                f"there is no --allow {text!r}; there are: {PRIVILEGED}, {NEW_PRIVILEGES} (sudo and its like), "
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
    """What an image may be called in a pattern: as it is, without its tag, with Docker's own registry spelled out.

    A digest counts for more than a tag before it, which then may say anything.
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
