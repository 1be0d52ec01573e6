"""Executors by name: the built-in ones, and how a worker opens the one that its operator has chosen.

An executor's module is imported only when it is chosen. Name another package's as `MODULE:CLASS`; see
docs/executors.md.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Protocol

import msgspec

from daemon.executors.base import Executor
from daemon.executors.policy import Policy
from protocol.errors import UsageError

BUILT_IN = {
    "docker": "daemon.executors.docker.executor:DockerExecutor",
    "dummy": "daemon.executors.dummy.executor:DummyExecutor",
}


class ExecutorOptions(msgspec.Struct, frozen=True, kw_only=True):
    """A worker's options for the executor that it opens. Durations are seconds, sizes are bytes.

    `coordinator` separates the objects of several coordinators' workers on one engine. `directory` is for the
    executor's state on this host; `networks` limits the networks that successive jobs may share.
    """

    worker: str
    labels: tuple[str, ...] = ()
    coordinator: str
    directory: Path
    lock: Path | None = None  # held for the worker's lifetime
    url: str | None = None
    cache_limit: int
    keep_caches: float | None
    after_script_timeout: float
    networks: int
    policy: Policy


class ExecutorClass(Protocol):
    """The class behind a name in the registry."""

    def open(self, options: ExecutorOptions) -> Executor:
        """An executor for a worker; a classmethod. Raises EngineUnavailable when its engine does not answer."""


def open_executor(name: str, options: ExecutorOptions) -> Executor:
    """The executor called `name`, ready for a worker. Raises UsageError for an unknown name, and the executor's
    exceptions if its engine does not answer.
    """
    module, colon, attribute = BUILT_IN.get(name, name).partition(":")
    if not colon:
        known = ", ".join(sorted(BUILT_IN))
        raise UsageError(f"unknown executor {name!r}; use {known}, or MODULE:CLASS of an installed package")
    try:
        chosen: ExecutorClass = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise UsageError(f"the executor {name!r} can't be loaded: {error}") from error
    return chosen.open(options)
