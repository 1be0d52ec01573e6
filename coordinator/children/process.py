"""One compiler process, from its task to its answer. Its exit, its silence and its noise are answers too."""

from __future__ import annotations

import logging
import os
import resource
import selectors
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from threading import Lock

import msgspec

from protocol.codec import check_numbers
from protocol.compilation import Answer, AnyAnswer, Bounds, CompileTask, NotCompiled, needs_memory
from protocol.decoders import from_msgpack
from protocol.errors import ProtocolError

log = logging.getLogger(__name__)

READ_BYTES = 1 << 16
LOOK_EVERY = 0.05
"""Seconds between looks at the size of a process: one that may allocate nothing at all any more can't say so itself, as
CPython then crashes, or raises MemoryError for ever.
"""
LAST_WORDS = 2_000
"""Bytes of stderr that are kept for the coordinator's log."""
KEPT_VARIABLES = ("PATH", "LD_LIBRARY_PATH")
"""All of the coordinator's environment that a compiler process gets: where programs and libraries are."""


MEND = "move scripts and variables into files of the repository"


class _TooLarge(Exception):
    """A process needs too much memory."""


class CompilerProcess:
    """Runs `command` once, with the `inherited` file descriptors. `run` blocks; `kill` ends it from any thread."""

    def __init__(self, command: Sequence[str], task: CompileTask, inherited: Sequence[int] = ()) -> None:
        self._command = command
        self._inherited = inherited
        self._task = task
        self._process: subprocess.Popen[bytes] | None = None  # while it is not waited for: its id is taken
        self._killed = False
        self._lock = Lock()

    def run(self) -> Answer:
        """The answer of the process, or why there is none. Raises OSError if it can't be started."""
        process = self._start()
        if process is None:
            return NotCompiled(problems=["the coordinator is stopping"])
        bounds = self._task.bounds
        seconds = bounds.seconds_for(self._task)
        with process:
            try:
                data, words = _read(process, time.monotonic() + seconds, bounds)
            except TimeoutError:
                return NotCompiled(problems=[f"compiling the pipeline took longer than {seconds:.0f} s"])
            except _TooLarge:
                return NotCompiled(problems=[needs_memory(bounds)])
            finally:
                status = self._end(process)
        if len(data) > bounds.answer_bytes:
            most = bounds.answer_bytes >> 20
            return NotCompiled(problems=[f"the plan of the pipeline is larger than {most} MB; {MEND}"])
        if status != 0:
            log.warning("a compiler ended with status %d: %s", status, words or "no message")
            return NotCompiled(problems=[_why(status)])
        return _decoded(data)

    def kill(self) -> None:
        """Ends the process and all that it has started. Thread-safe."""
        with self._lock:
            self._killed = True
            if self._process is not None:
                _kill_group(self._process)

    def _start(self) -> subprocess.Popen[bytes] | None:
        """Starts the process; None if it was killed before."""
        scratch = Path(self._task.scratch)
        with tempfile.TemporaryFile(dir=scratch) as task:
            task.write(msgspec.msgpack.encode(self._task))
            task.seek(0)
            environment = {name: value for name in KEPT_VARIABLES if (value := os.environ.get(name))}
            with self._lock:
                if self._killed:
                    return None
                self._process = subprocess.Popen(
                    self._command,
                    stdin=task,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    cwd=scratch,
                    env=environment | {"LC_ALL": "C.UTF-8"},
                    pass_fds=self._inherited,
                    start_new_session=True,
                )
            return self._process

    def _end(self, process: subprocess.Popen[bytes]) -> int:
        """Ends what still runs of the process, and of the programs that it started. Returns its exit status."""
        with self._lock:
            _kill_group(process)
            self._process = None
            return process.wait()


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _read(process: subprocess.Popen[bytes], deadline: float, bounds: Bounds) -> tuple[bytes, str]:
    """Waits for the end of a process. Returns what it wrote to stdout, but soon after `bounds.answer_bytes`, and the
    end of what it wrote to stderr. Raises TimeoutError if it still runs at the deadline, _TooLarge if it has grown past
    its bound.
    """
    most = bounds.answer_bytes
    assert process.stdout is not None
    assert process.stderr is not None
    kept = {process.stdout.fileno(): bytearray(), process.stderr.fileno(): bytearray()}
    out, words = kept.values()
    ending = os.pidfd_open(process.pid)
    try:
        with selectors.DefaultSelector() as selector:
            for descriptor in (ending, *kept):
                selector.register(descriptor, selectors.EVENT_READ)
            ended = False
            while len(out) <= most:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise TimeoutError
                ready = [key.fd for key, _ in selector.select(0.0 if ended else min(left, LOOK_EVERY))]
                if _address_space(process.pid) > bounds.memory_bytes:
                    raise _TooLarge
                ended = ended or ending in ready
                for descriptor in kept.keys() & ready:
                    if piece := os.read(descriptor, READ_BYTES):
                        kept[descriptor].extend(piece)
                    else:
                        selector.unregister(descriptor)
                        ready.remove(descriptor)
                del words[:-LAST_WORDS]
                if ended and not kept.keys() & ready:
                    break
    finally:
        os.close(ending)
    return bytes(out), words.decode(errors="replace").strip()


def _address_space(pid: int) -> int:
    """The size in bytes of a process's address space; 0 if it has ended."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_bytes().split()[0]) * resource.getpagesize()
    except (OSError, IndexError):
        return 0


def _why(status: int) -> str:
    if status == -signal.SIGXCPU:
        return "compiling the pipeline took too much CPU time"
    how = f"signal {-status}" if status < 0 else f"status {status}"
    return f"the compiler of the pipeline ended unexpectedly ({how})"


def _decoded(data: bytes) -> Answer:
    """The answer, checked like a client's request: the process has read what others wrote."""
    try:
        answer: Answer = from_msgpack(data, AnyAnswer).answer
        check_numbers(answer)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ProtocolError) as error:
        return NotCompiled(problems=[f"the compiler of the pipeline gave no sound plan: {error}"])
    if isinstance(answer, NotCompiled) and answer.defect:
        log.error("a pipeline can't be compiled: %s", answer.defect)
    return answer
