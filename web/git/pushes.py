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
from protocol.projects import TriggerSpec
from web.git import progress
from web.git.options import Update, check_updates, parse_options, triggers
from web.git.repositories import Repositories

log = logging.getLogger(__name__)

MOST_FOLLOWED = 16
"""Pushes whose runs are followed at a time; each takes a thread, and mostly sleeps. Others only start runs."""
THREADS = MOST_FOLLOWED + 4
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
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="push")
        self._server: asyncio.Server | None = None
        self._ended = asyncio.Event()
        self._followed = 0

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
        """Answers one hook: in a thread if it starts runs."""
        try:
            question = from_json(await reader.readline(), Question)
            if (push := self._running.get(question.id)) is not None:
                conversation = _Conversation(asyncio.get_running_loop(), self._ended, reader, writer)
                status = await self._decide(push, question, conversation)
                writer.write(f"exit {status}\n".encode())
                await writer.drain()
        except (msgspec.MsgspecError, OSError, ValueError) as error:
            log.info("a push has ended early: %s", error)
        finally:
            writer.close()

    async def _decide(self, push: Push, question: Question, conversation: _Conversation) -> int:
        """The exit status of a hook; that of `pre-receive` accepts or refuses the push."""
        try:
            options = parse_options(question.options)
            updates = [Update(*update) for update in question.updates]
            check_updates(updates)
            if options.wait != (question.hook == "pre-receive"):
                return 0
            if options.skip:
                await conversation.print("Longshore: no run (ci.skip)")
                return 0
            wanted = triggers(push.project, f"push {question.id}", push.user, updates, options)
            follows = self._followed < MOST_FOLLOWED
            if options.wait and not follows:
                raise UsageError(f"{MOST_FOLLOWED} pushes wait for their runs already; try again later")
            self._followed += follows
            try:
                loop = asyncio.get_running_loop()
                return await loop.run_in_executor(self._threads, self._run, push, wanted, conversation, follows)
            finally:
                self._followed -= follows
        except CoordinatorUnreachable:
            await conversation.print("Longshore: the coordinator does not answer; no longer waiting for the run")
        except LongshoreError as error:
            await conversation.print(f"Longshore: {error}")
        return 1

    def _run(self, push: Push, wanted: list[TriggerSpec], conversation: _Conversation, follows: bool) -> int:
        """Starts the runs of a push and, in a thread, follows them; 1 if one of them fails."""
        if not wanted:
            return 0
        if not conversation.keep():
            raise LongshoreError("the pushed commits can't be kept; no run was started")
        with Client(self._address, timeout=REQUEST_SECONDS, name="web", credentials=self._credentials) as client:
            added = progress.add(client, wanted, conversation.say)
            if not follows:
                conversation.say("Longshore: runs will start; too many others are followed already")
                return 0
            good = [progress.follow(client, trigger, conversation.say) for trigger in added]
        path = self._repositories.path(push.project)
        for trigger in wanted:
            with contextlib.suppress(LongshoreError):  # somebody else has pushed the same, and has removed it
                self._repositories.git(path, "update-ref", "-d", f"refs/pushes/{trigger.sha}")
        return 0 if all(good) and len(added) == len(wanted) else 1


class _Conversation:
    """The other end of a hook's socket. `say` and `keep` are for other threads.

    Its methods raise ConnectionError once nobody listens.
    """

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
        asyncio.run_coroutine_threadsafe(self.print(line), self._loop).result(SEND_SECONDS)

    async def print(self, line: str) -> None:
        """`say`, for the event loop's thread."""
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
