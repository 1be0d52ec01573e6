"""Compiles child pipelines: takes requests, runs a few compiler processes at a time, and bounds their disk."""

from __future__ import annotations

import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import Literal
from uuid import uuid4

import msgspec

from coordinator.children.process import CompilerProcess
from protocol.compilation import Answer, Bounds, ChildRequest, CompileTask, Includes, NotCompiled
from protocol.errors import ProtocolError
from protocol.keys import PRIVATE_DIRECTORY

log = logging.getLogger(__name__)

COMMAND = (sys.executable, "-I", "-m", "compiler")
"""Starts a compiler process; isolated, so that no variable or directory of the user's changes what it imports."""


NOWHERE = "/nonexistent"
OF_CONNECTIONS = frozenset((
    "ALL_PROXY", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO", "GIT_SSL_CAPATH", "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "PATH",
    "SSL_CERT_DIR", "SSL_CERT_FILE",
))  # fmt: skip
"""Variables, in any case, with proxies and certificates."""


class CompilerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How child pipelines are compiled. `processes` run at a time; snapshots are kept for the next ones of their
    projects, up to `store_bytes` and for `store_seconds` unused.
    """

    processes: int = 2
    store_bytes: int = 4 << 30
    store_seconds: float = 86_400.0
    bounds: Bounds = Bounds()
    command: Sequence[str] = COMMAND
    includes: Literal["none", "public", "own"] = "public"
    """Whether includes of other projects are fetched: what anyone may read, or all that the coordinator's user may."""


class ChildCompiler:
    """Compiles in processes of their own. `directory` is used by this object alone; `blob` is the path of a blob.

    A compilation depends on its request alone, so a restarted coordinator just asks again. All methods are thread-safe.
    """

    def __init__(self, directory: Path, blob: Callable[[str], Path], settings: CompilerSettings) -> None:
        self._store = directory / "store"
        self._cache = directory / "includes"
        self._scratch = directory / "scratch"
        self._blob = blob
        self._settings = settings
        self._processes: set[CompilerProcess] = set()
        self._closed = False
        self._lock = Lock()
        shutil.rmtree(self._scratch, ignore_errors=True)  # of an earlier coordinator, killed
        directory.mkdir(parents=True, exist_ok=True, mode=PRIVATE_DIRECTORY)  # the mode is that of the last one only
        for path in (self._store, self._scratch):
            path.mkdir(exist_ok=True, mode=PRIVATE_DIRECTORY)
        self._threads = ThreadPoolExecutor(settings.processes, thread_name_prefix="child compiler")

    def compile(self, request: ChildRequest) -> Future[Answer]:
        """Compiles a child pipeline, soon. The future never has an exception; `close` cancels it.

        Its callbacks run in another thread, or at once if it is done.
        """
        return self._threads.submit(self._compile, request)

    def close(self) -> None:
        """Kills all processes and waits for their ends."""
        with self._lock:
            self._closed = True
            running = list(self._processes)
        for process in running:
            process.kill()
        self._threads.shutdown(cancel_futures=True)

    def _compile(self, request: ChildRequest) -> Answer:
        scratch = self._scratch / uuid4().hex
        try:
            scratch.mkdir(mode=PRIVATE_DIRECTORY)
            task = self._task(request, scratch)
            if self._settings.includes == "none":
                return self._run(CompilerProcess(self._settings.command, task))
            own = self._settings.includes == "own"
            with tempfile.TemporaryFile(dir=scratch) as environment:
                environment.write(msgspec.msgpack.encode(dict(os.environ) if own else public_environment()))
                environment.seek(0)
                includes = Includes(environment=environment.fileno(), own_access=own)
                task = msgspec.structs.replace(task, includes=includes)
                return self._run(CompilerProcess(self._settings.command, task, [environment.fileno()]))
        except (OSError, ProtocolError) as error:
            log.warning("can't compile a pipeline: %s", error)
            return NotCompiled(problems=[f"the coordinator can't compile the pipeline: {error}"])
        except Exception as error:
            log.exception("can't compile a pipeline")
            return NotCompiled(problems=[f"the coordinator failed to compile the pipeline: {error!r}"])
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def _run(self, process: CompilerProcess) -> Answer:
        with self._lock:
            if self._closed:
                return NotCompiled(problems=["the coordinator is stopping"])
            self._processes.add(process)
        try:
            return process.run()
        finally:
            with self._lock:
                self._processes.discard(process)

    def _task(self, request: ChildRequest, scratch: Path) -> CompileTask:
        """The task of one process. Raises ProtocolError for a malformed digest."""
        digests = [blob.digest for blob in request.workspace.blobs] if request.workspace is not None else []
        digests += [ref.digest for refs in request.archives.values() for ref in refs]
        return CompileTask(
            request=request,
            bounds=self._settings.bounds,
            blobs={digest: str(self._blob(digest).absolute()) for digest in digests},
            store=str(self._store.absolute()),
            store_bytes=self._settings.store_bytes,
            store_seconds=self._settings.store_seconds,
            scratch=str(scratch.absolute()),
            cache=str(self._cache.absolute()),
        )


def public_environment() -> dict[str, str]:
    """The environment of a fetcher without access of its own: how to reach servers, and no credentials."""
    kept = {key: value for key, value in os.environ.items() if key.upper() in OF_CONNECTIONS}
    return kept | {"HOME": NOWHERE, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
