"""Pushes in progress: what git's hooks ask of the web server, over a socket that only this user can open."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import msgspec

from protocol.client import Client
from protocol.decoders import from_json
from protocol.errors import CoordinatorUnreachable, LongshoreError, UsageError
from protocol.keys import Credentials
from web.git import progress
from web.git.options import PushOptions, Update, check_updates, parse_options, triggers
from web.git.repositories import Repositories

log = logging.getLogger(__name__)

MOST_PUSHES = 16
"""Pushes whose hooks are answered at a time; each takes a thread, and mostly sleeps."""
LONGEST_QUESTION = 4 << 20
REQUEST_SECONDS = 5.0
SEND_SECONDS = 60.0
"""Time for the other side to take a line."""
ID_BYTES = 16


class Push(msgspec.Struct, frozen=True):
    """One push: to which project, and whose."""

    project: str
    user: str


class Question(msgspec.Struct, frozen=True):
    """What a hook sends, see `relay`."""

    id: str
    hook: str
    updates: list[tuple[str, str, str]]
    options: list[str]


class Pushes:
    """Answers the hooks of pushes. `begin` and `serve` belong to the event loop's thread."""

    def __init__(self, repositories: Repositories, address: str, credentials: Credentials | None) -> None:
        self._repositories = repositories
        self._address = address
        self._credentials = credentials
        self._running: dict[str, Push] = {}
        self._threads = ThreadPoolExecutor(MOST_PUSHES, thread_name_prefix="push")
        self._server: asyncio.Server | None = None
        self._ended = asyncio.Event()

    async def start(self) -> None:
        """Listens for hooks."""
        socket = self._repositories.socket
        with contextlib.suppress(FileNotFoundError):
            socket.unlink()
        self._server = await asyncio.start_unix_server(self._answer, socket, limit=LONGEST_QUESTION)
        os.chmod(socket, 0o600)

    async def stop(self) -> None:
        """Stops listening. Pushes that wait for their runs end; the runs go on."""
        if self._server is not None:
            self._server.close()
        self._ended.set()
        await asyncio.to_thread(self._threads.shutdown, cancel_futures=True)

    @contextlib.contextmanager
    def begin(self, project: str, user: str) -> Iterator[dict[str, str]]:
        """The environment by which the hooks of a push are known, while it goes on."""
        id = secrets.token_hex(ID_BYTES)
        self._running[id] = Push(project, user)
        try:
            yield {"LONGSHORE_PUSH": id, "LONGSHORE_SOCKET": str(self._repositories.socket)}
        finally:
            del self._running[id]

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            question = from_json(await reader.readline(), Question)
            push = self._running.get(question.id)
            if push is None:
                return
            conversation = _Conversation(asyncio.get_running_loop(), self._ended, reader, writer)
            loop = asyncio.get_running_loop()
            status = await loop.run_in_executor(self._threads, self._decide, push, question, conversation)
            writer.write(f"exit {status}\n".encode())
            await writer.drain()
        except (msgspec.MsgspecError, OSError, ValueError) as error:
            log.info("a push has ended early: %s", error)
        finally:
            writer.close()

    def _decide(self, push: Push, question: Question, conversation: _Conversation) -> int:
        """The exit status of a hook. Runs in a thread."""
        try:
            options = parse_options(question.options)
            updates = [Update(*update) for update in question.updates]
            check_updates(updates)
            if options.wait == (question.hook == "pre-receive"):
                return self._run(push, question.id, updates, options, conversation)
        except UsageError as error:
            conversation.say(f"Longshore: {error}")
            return 1
        except CoordinatorUnreachable:
            conversation.say("Longshore: the coordinator does not answer; no longer waiting for the run")
            return 1
        except LongshoreError as error:
            conversation.say(f"Longshore: {error}")
            return 1
        return 0

    def _run(
        self, push: Push, id: str, updates: list[Update], options: PushOptions, conversation: _Conversation
    ) -> int:
        """Starts the runs of a push and follows them; 1 if one of them fails."""
        if options.skip:
            conversation.say("Longshore: no run (ci.skip)")
            return 0
        wanted = triggers(push.project, f"push {id}", push.user, updates, options)
        if not wanted:
            return 0
        if not conversation.keep():
            conversation.say("Longshore: the pushed commits can't be kept; no run was started")
            return 1
        with Client(self._address, timeout=REQUEST_SECONDS, name="web", credentials=self._credentials) as client:
            added = progress.add(client, wanted, conversation.say)
            good = [progress.follow(client, trigger, conversation.say) for trigger in added]
        path = self._repositories.path(push.project)
        for trigger in wanted:
            with contextlib.suppress(LongshoreError):  # somebody else has pushed the same, and has removed it
                self._repositories.git(path, "update-ref", "-d", f"refs/pushes/{trigger.sha}")
        return 0 if all(good) and len(added) == len(wanted) else 1


class _Conversation:
    """The other end of a hook's socket, for a thread. Its methods raise ConnectionError once nobody listens."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        ended: asyncio.Event,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self._loop = loop
        self._ended = ended
        self._reader = reader
        self._writer = writer

    def say(self, line: str) -> None:
        """Prints a line for whoever pushes; an empty one only asks whether anybody listens."""
        asyncio.run_coroutine_threadsafe(self._say(line), self._loop).result(SEND_SECONDS)

    async def _say(self, line: str) -> None:
        if self._ended.is_set() or self._writer.is_closing() or self._reader.at_eof():
            raise ConnectionAbortedError("nobody waits for this push any more")
        if line:
            self._writer.write(f"={line}\n".encode())
            await self._writer.drain()

    def keep(self) -> bool:
        """Has the hook keep the pushed commits; returns whether it could."""
        return asyncio.run_coroutine_threadsafe(self._keep(), self._loop).result()

    async def _keep(self) -> bool:
        self._writer.write(b"keep\n")
        await self._writer.drain()
        return await self._reader.readline() == b"kept\n"
