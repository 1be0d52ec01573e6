"""Runs git's http-backend, a CGI program, for one request: its body in, the response out, both streamed."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Mapping

from aiohttp import web

log = logging.getLogger(__name__)

COMMAND = ("git", "http-backend")
PIECE_BYTES = 1 << 16
HEAD_BYTES = 1 << 16
STALL_SECONDS = 60.0
"""Time within which the other side must send or take the next piece."""
END_SECONDS = 5.0
"""Time for git to tidy up after SIGTERM."""


async def run(request: web.Request, environment: Mapping[str, str], max_bytes: int) -> web.StreamResponse:
    """Answers a request by http-backend with this environment. A body has at most `max_bytes`."""
    process = await asyncio.create_subprocess_exec(
        *COMMAND,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=dict(environment),
        start_new_session=True,
        limit=HEAD_BYTES,
    )
    assert process.stderr is not None
    errors = asyncio.create_task(process.stderr.read(HEAD_BYTES))
    feeding = asyncio.create_task(_feed(request, process, max_bytes))
    try:
        return await _respond(request, process)
    finally:
        feeding.cancel()
        with contextlib.suppress(asyncio.CancelledError, ConnectionError, TimeoutError, web.HTTPException):
            await feeding
        await _end(process)
        said = (await errors).decode(errors="replace").strip()
        if said:
            log.info("git http-backend: %s", said[:1000])


async def _feed(request: web.Request, process: asyncio.subprocess.Process, max_bytes: int) -> None:
    """Passes the request's body on."""
    assert process.stdin is not None
    taken = 0
    try:
        while True:
            async with asyncio.timeout(STALL_SECONDS):
                piece = await request.content.read(PIECE_BYTES)
            if not piece:
                break
            taken += len(piece)
            if taken > max_bytes:
                _signal(process, signal.SIGTERM)
                return
            process.stdin.write(piece)
            await process.stdin.drain()
    except TimeoutError:
        _signal(process, signal.SIGTERM)
    except ConnectionError:
        pass  # git has had enough, and says why
    finally:
        process.stdin.close()


async def _respond(request: web.Request, process: asyncio.subprocess.Process) -> web.StreamResponse:
    """Turns the CGI response into one of HTTP."""
    assert process.stdout is not None
    try:
        head = await process.stdout.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
        raise web.HTTPInternalServerError(text="git http-backend has failed; see the server's log\n") from error
    response = web.StreamResponse()
    for line in head.decode("latin-1").strip().split("\r\n"):
        name, _, value = line.partition(":")
        if name.lower() == "status":
            response.set_status(int(value.split()[0]))
        else:
            response.headers[name] = value.strip()
    await response.prepare(request)
    while piece := await process.stdout.read(PIECE_BYTES):
        async with asyncio.timeout(STALL_SECONDS):
            await response.write(piece)
    with contextlib.suppress(ConnectionError):
        await response.write_eof()
    return response


async def _end(process: asyncio.subprocess.Process) -> None:
    """Ends git with all its processes, if it goes on because nobody listens any more."""
    if process.returncode is None:
        _signal(process, signal.SIGTERM)
        try:
            async with asyncio.timeout(END_SECONDS):
                await process.wait()
        except TimeoutError:
            _signal(process, signal.SIGKILL)
            await process.wait()


def _signal(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)
