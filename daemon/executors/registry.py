"""Executors by name: which there are, and how a worker gets the one that its operator has chosen.

An executor's module is imported only when it is chosen. Another package's is named `MODULE:CLASS`; see
docs/executors.md.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from daemon.executors.base import Executor
from daemon.executors.policy import Policy
from protocol.errors import UsageError

BUILT_IN = {
    "docker": "daemon.executors.docker.executor:DockerExecutor",
    "dummy": "daemon.executors.dummy.executor:DummyExecutor",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutorOptions:
    """What a worker hands to the executor that it opens. Durations are seconds, sizes are bytes.

    `coordinator` keeps apart what workers of several coordinators have on one engine. `directory` is for what the
    executor keeps on this host; `networks` is how many networks jobs may share one after the other.
    """

    worker: str
    coordinator: str
    directory: Path
    lock: Path | None = None  # locked while the worker lives
    url: str | None = None
    cache_limit: int
    keep_caches: float | None
    after_script_timeout: float
    networks: int
    policy: Policy


class ExecutorClass(Protocol):
    """What a name in the registry stands for."""

    def open(self, options: ExecutorOptions) -> Executor:
        """An executor for a worker; a classmethod. Raises EngineUnavailable when its engine does not answer."""


def open_executor(name: str, options: ExecutorOptions) -> Executor:
    """The executor called `name`, ready for a worker. Raises UsageError for one that is not there, and what the
    executor raises when its engine does not answer.
    """
    module, colon, attribute = BUILT_IN.get(name, name).partition(":")
    if not colon:
        known = ", ".join(sorted(BUILT_IN))
        raise UsageError(f"there is no executor {name!r}; there are {known}, and MODULE:CLASS of an installed package")
    try:
        chosen: ExecutorClass = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise UsageError(f"the executor {name!r} can't be loaded: {error}") from error
    return chosen.open(options)
