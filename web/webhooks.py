"""POST /hooks/GROUP/NAME: verifies a delivery, and answers once the triggers that it reports are durable."""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import msgspec
from aiohttp import web

from protocol import messages as m
from protocol.client import Client
from protocol.errors import UsageError
from protocol.projects import ProjectView, TriggerSpec, check_project_name
from web.hooks.delivery import Delivery, Forge, Report, checked
from web.hooks.forges import is_about, sender
from web.projects import Projects
from web.upstream import Busy, Upstream

log = logging.getLogger(__name__)

MAX_BODY_BYTES = 4 << 20
"""Largest delivery. GitHub lists up to 2,048 commits with their files."""
MAX_BODIES_BYTES = 64 << 20
"""Bodies in memory, of all connections together."""
BODY_SECONDS = 20.0
"""Time for a body to arrive."""
RETRY_AFTER_SECONDS = 5
NO_SECRET = secrets.token_hex()
"""In place of an unknown project's secret: so that its refusal costs the same work."""
FORBIDDEN = "the delivery is not signed with the secret of this project's hook; see: longshore project hook GROUP/NAME"


class Webhooks:
    """Takes the deliveries of all projects."""

    def __init__(self, upstream: Upstream, projects: Projects) -> None:
        self._upstream = upstream
        self._projects = projects
        self._bodies = 0

    async def expect(self, request: web.Request) -> None:
        """Asks for the body of a request that waits for that, unless it is too large."""
        if (request.content_length or 0) > MAX_BODY_BYTES:
            raise _too_large(request.content_length or 0)
        assert request.transport is not None
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    async def receive(self, request: web.Request) -> web.Response:
        """Answers one delivery: 202 with new triggers, 200 without, 4xx if it is refused, 503 to try again later."""
        name = request.match_info["project"]
        try:
            async with self._body(request) as body:
                headers = {key.lower(): value for key, value in request.headers.items()}
                return await self._receive(name, Delivery(headers, body))
        except Busy as error:
            log.warning("can't take a delivery for %s: %s", name, error)
            return answer(503, error="try again later", headers={"Retry-After": str(RETRY_AFTER_SECONDS)})
        except UsageError as error:
            return answer(400, error=str(error))

    @asynccontextmanager
    async def _body(self, request: web.Request) -> AsyncIterator[bytes]:
        """The request's body. Raises HTTP errors for one that is too large or too slow, Busy if memory is short."""
        taken = 0
        pieces = []
        try:
            if (request.content_length or 0) > MAX_BODY_BYTES:
                raise _too_large(request.content_length or 0)
            async with asyncio.timeout(BODY_SECONDS):
                async for piece in request.content.iter_any():
                    if taken + len(piece) > MAX_BODY_BYTES:
                        raise _too_large(taken + len(piece))
                    if self._bodies + len(piece) > MAX_BODIES_BYTES:
                        raise Busy("deliveries take too much memory")
                    taken += len(piece)
                    self._bodies += len(piece)
                    pieces.append(piece)
            yield b"".join(pieces)
        except TimeoutError:
            raise web.HTTPRequestTimeout(text="the body did not arrive in time\n") from None
        finally:
            self._bodies -= taken

    async def _receive(self, name: str, delivery: Delivery) -> web.Response:
        forge = sender(delivery)
        project = await self._known(name)
        if forge is None or not await self._is_signed(forge, delivery, project):
            return answer(403, error=FORBIDDEN)
        assert project is not None
        report = checked(forge.report(delivery))
        others = [other for other in await self._projects.all() if other != name]
        if not is_about(report, name, project.project.url, others):
            log.warning("refused a delivery for %s about repository %r", name, report.repository[:200])
            return answer(403, error=f"the delivery is about repository {report.repository!r}, not that of {name}")
        if not report.triggers:
            return answer(200, ignored=report.ignored)
        return await self._add(_triggers(name, forge, delivery, report))

    async def _known(self, name: str) -> ProjectView | None:
        try:
            check_project_name(name)
        except UsageError:
            return None
        return await self._projects.find(name)

    async def _is_signed(self, forge: Forge, delivery: Delivery, project: ProjectView | None) -> bool:
        if project is None:
            return forge.is_signed(delivery, NO_SECRET)
        name = project.project.name
        secret = await self._projects.hook_secret(name)
        if forge.is_signed(delivery, secret or NO_SECRET):
            return True
        changed = await self._projects.hook_secret(name, fresh=True)
        return changed not in ("", secret) and forge.is_signed(delivery, changed)

    async def _add(self, triggers: list[TriggerSpec]) -> web.Response:
        added = await asyncio.gather(*(self._upstream.ask(_adding(trigger)) for trigger in triggers))
        results: list[dict[str, object]] = []
        for reply in added:
            result: dict[str, object] = {"outcome": reply.outcome}
            if reply.trigger:
                result["trigger"] = reply.trigger
            if reply.run is not None:
                result["run"] = reply.run
            if reply.reason:
                result["reason"] = reply.reason
            results.append(result)
        new = any(reply.outcome == "accepted" for reply in added)
        return answer(202 if new else 200, triggers=results)


def _triggers(project: str, forge: Forge, delivery: Delivery, report: Report) -> list[TriggerSpec]:
    """The report's triggers, each with the key that all repetitions of the delivery have."""
    id = forge.delivery_id(delivery)
    triggers = []
    for number, trigger in enumerate(report.triggers):
        key = trigger.key or (f"{id} {number}" if number else id)
        triggers.append(msgspec.structs.replace(trigger, project=project, key=key))
    return triggers


def _adding(trigger: TriggerSpec) -> Callable[[Client], m.TriggerAdded]:
    return lambda client: client.request(m.AddTrigger, m.TriggerAdded, trigger=trigger)


def _too_large(size: int) -> web.HTTPRequestEntityTooLarge:
    return web.HTTPRequestEntityTooLarge(MAX_BODY_BYTES, size)


def answer(status: int, *, headers: dict[str, str] | None = None, **content: object) -> web.Response:
    """A response with a JSON object."""
    text = json.dumps(content) + "\n"
    return web.Response(status=status, text=text, content_type="application/json", headers=headers)
