"""/git/GROUP/NAME.git: git over HTTP, for people who sign in with a join token as password."""

from __future__ import annotations

import asyncio
import binascii
import logging
from pathlib import Path

from aiohttp import BasicAuth, web

from protocol.errors import CoordinatorUnreachable, LongshoreError, UsageError
from protocol.keys import Credentials
from protocol.projects import ProjectView, check_project_name
from web.git import backend
from web.git.pushes import Pushes
from web.git.repositories import MAX_PUSH_BYTES, Repositories
from web.projects import Projects
from web.users import User, Users

log = logging.getLogger(__name__)

MOST_REQUESTS = 32
"""Git requests that are served at a time."""
SIGN_INS = 4
"""Passwords that are checked at a time."""
RETRY_AFTER = {"Retry-After": "10"}
SERVICES = ("git-upload-pack", "git-receive-pack")
RECEIVE = "git-receive-pack"
CHALLENGE = {"WWW-Authenticate": 'Basic realm="Longshore", charset="UTF-8"'}
ROUTE = r"/git/{project:[^?#]{1,255}}.git/{rest:info/refs|git-upload-pack|git-receive-pack}"


class GitServer:
    """Serves the repositories of all projects."""

    def __init__(
        self, state: Path, pushes: Path, address: str, credentials: Credentials | None, projects: Projects
    ) -> None:
        self._repositories = Repositories(pushes, state / "web")
        self._users = Users(state / "web" / "users", address)
        self._pushes = Pushes(self._repositories, address, credentials)
        self._projects = projects
        self._running = 0
        self._signing_in = asyncio.Semaphore(SIGN_INS)

    async def start(self) -> None:
        """Prepares hooks and listens for them."""
        self._repositories.prepare()
        await self._pushes.start()

    async def stop(self) -> None:
        """Stops listening."""
        await self._pushes.stop()

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Answers one request of a git client."""
        rest = request.match_info["rest"]
        service = request.query.get("service", "") if rest == "info/refs" else rest
        if service not in SERVICES or (request.method == "GET") != (rest == "info/refs"):
            raise web.HTTPForbidden(text="only git's smart protocol is served here\n")
        if self._running >= MOST_REQUESTS:
            raise web.HTTPServiceUnavailable(text="too many git requests; try again later\n", headers=RETRY_AFTER)
        self._running += 1
        try:
            user = await self._sign_in(request)
            if service == RECEIVE and not user.acts:
                raise web.HTTPForbidden(text=f"{user.name} may read here, but not push: that takes an operator\n")
            project = await self._project(request.match_info["project"])
            name = project.project.name
            path = await asyncio.to_thread(self._repositories.make, name, project.project.default_branch)
            with self._pushes.begin(name, user.name) as known:
                environment = self._environment(request, path, rest, user) | known
                return await backend.run(request, environment, MAX_PUSH_BYTES)
        except CoordinatorUnreachable as error:
            raise web.HTTPServiceUnavailable(text=f"{error}\n", headers=RETRY_AFTER) from error
        except LongshoreError as error:
            log.error("can't serve %s: %s", request.path[:200], error)
            raise web.HTTPServiceUnavailable(text=f"{error}\n", headers=RETRY_AFTER) from error
        finally:
            self._running -= 1

    async def _sign_in(self, request: web.Request) -> User:
        """Who sends a request. Raises HTTPUnauthorized."""
        try:
            given = BasicAuth.decode(request.headers.get("Authorization", ""), encoding="utf-8")
        except (ValueError, binascii.Error):
            raise web.HTTPUnauthorized(text="sign in with a join token as password\n", headers=CHALLENGE) from None
        async with self._signing_in:
            try:
                user = await asyncio.to_thread(self._users.sign_in, given.login, given.password)
            except UsageError as error:
                raise web.HTTPForbidden(text=f"{error}\n") from error
        if user is None:
            raise web.HTTPUnauthorized(
                text="wrong password: it is a join token of `longshore token create --role operator`, whose key was "
                "not revoked\n",
                headers=CHALLENGE,
            )
        return user

    async def _project(self, name: str) -> ProjectView:
        try:
            check_project_name(name)
        except UsageError as error:
            raise web.HTTPNotFound(text=f"{error}\n") from error
        project = await self._projects.find(name)
        if project is None:
            raise web.HTTPNotFound(text=f"there is no project {name}; add it: longshore project add {name}\n")
        return project

    def _environment(self, request: web.Request, path: Path, rest: str, user: User) -> dict[str, str]:
        """The variables of a CGI program. The body is already decompressed, and of unknown length."""
        cgi = {
            "GATEWAY_INTERFACE": "CGI/1.1",
            "GIT_HTTP_EXPORT_ALL": "1",
            "GIT_PROJECT_ROOT": str(path),
            "PATH_INFO": f"/{rest}",
            "QUERY_STRING": f"service={request.query['service']}" if rest == "info/refs" else "",
            "REMOTE_ADDR": request.remote or "",
            "REMOTE_USER": user.name,
            "REQUEST_METHOD": request.method,
            "CONTENT_TYPE": request.headers.get("Content-Type", "")[:200],
        }
        if protocol := request.headers.get("Git-Protocol", "")[:200]:
            cgi["GIT_PROTOCOL"] = protocol
        return self._repositories.environment(**cgi)
