"""What the web server knows of the coordinator's projects: their settings and hook secrets, looked up on demand.

A lookup that can be answered from memory costs nothing for `LASTING_SECONDS`. One that would end in a refusal is
repeated with the coordinator first, as the project or its secret may be new; strangers who cause this share one request
at a time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from protocol import messages as m
from protocol.projects import ProjectView
from web.upstream import Upstream

LASTING_SECONDS = 5.0
"""Age up to which an answer is used without asking again."""

T = TypeVar("T")


class Shared(Generic[T]):
    """A value that is loaded on demand, by one load at a time."""

    def __init__(self, load: Callable[[], Awaitable[T]]) -> None:
        self._load = load
        self._lock = asyncio.Lock()
        self._value: T | None = None
        self._loads = 0
        self._loaded_at = float("-inf")

    async def recent(self) -> T:
        """The value as it was at most LASTING_SECONDS ago."""
        if self._value is not None and time.monotonic() - self._loaded_at < LASTING_SECONDS:
            return self._value
        return await self.fresh()

    async def fresh(self) -> T:
        """The value from a load that begins after this call; other callers share it."""
        begun = self._loads
        async with self._lock:
            if self._loads == begun or self._value is None:
                self._loads += 1
                self._value = await self._load()
                self._loaded_at = time.monotonic()
            return self._value


class Projects:
    """The projects of a coordinator. Methods raise Busy if it does not answer."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._all = Shared(self._load_all)
        self._secrets: dict[str, Shared[str]] = {}

    async def all(self) -> dict[str, ProjectView]:
        """All projects by name."""
        return await self._all.recent()

    async def find(self, name: str) -> ProjectView | None:
        """One project."""
        found = (await self._all.recent()).get(name)
        return found or (await self._all.fresh()).get(name)

    async def hook_secret(self, name: str, *, fresh: bool = False) -> str:
        """The hook secret of a known project; empty if it has none."""
        secret = self._secrets.get(name)
        if secret is None:
            secret = self._secrets[name] = Shared(lambda: self._load_secret(name))
        return await (secret.fresh() if fresh else secret.recent())

    async def _load_all(self) -> dict[str, ProjectView]:
        reply = await self._upstream.ask(lambda client: client.request(m.ListProjects, m.ProjectList))
        projects = {view.project.name: view for view in reply.projects}
        self._secrets = {name: secret for name, secret in self._secrets.items() if name in projects}
        return projects

    async def _load_secret(self, name: str) -> str:
        reply = await self._upstream.ask(lambda client: client.request(m.GetHookSecret, m.SecretValue, project=name))
        return reply.value
