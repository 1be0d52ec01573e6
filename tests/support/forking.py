"""Processes of `longshore` that are forked from one that has imported all of it, for tests that start many.

Importing takes nine tenths of what a short command costs. A forked process is one of its own in every other respect:
its arguments, environment, working directory, standard streams, signals and exit status are those of the command.
Where the start itself matters, or the environment is one of the interpreter's, the command is executed as usual.

`python -m tests.support.forking FD` is the process that forks. Each request on that socket has the streams with it, and
a pipe, on which the pid is answered, then the exit status; a process ended by a signal has that one's negative number.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import json
import os
import pkgutil
import runpy
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

ROOT = Path(__file__).parents[2]
PACKAGES = ("protocol", "pipeline", "coordinator", "daemon", "cli")
"""Without the dashboard, whose imports cost as much as those of all the others."""
OF_THE_INTERPRETER = ("PYTHON", "LANG", "LC_", "TZ")
"""Beginnings of variables that an interpreter reads when it starts."""
MOST_BYTES = 1 << 20
CLONE_NEWNET = 0x40000000
STREAMS = 3


class Forked:
    """A forked process: what tests use of `subprocess.Popen`."""

    def __init__(self, command: Sequence[str], answers: int) -> None:
        self.args = command
        self.returncode: int | None = None
        self._answers = os.fdopen(answers, "rb", buffering=0)
        self.pid = int(self._line())

    def _line(self) -> bytes:
        line = self._answers.readline()
        if not line:
            raise ChildProcessError("the process that forks has ended")
        return line

    def poll(self) -> int | None:
        """See Popen."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """See Popen."""
        if self.returncode is None:
            with selectors.DefaultSelector() as selector:
                selector.register(self._answers, selectors.EVENT_READ)
                if not selector.select(timeout):
                    raise subprocess.TimeoutExpired(self.args, timeout or 0)
            self.returncode = int(self._line())
            self._answers.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        """See Popen."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        """See Popen."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """See Popen."""
        self.send_signal(signal.SIGKILL)


class _Forker:
    """The client's side of the process that forks."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            command = [sys.executable, "-m", __name__, str(theirs.fileno())]
            self._process = subprocess.Popen(
                command, cwd=ROOT, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()], env=_plain(os.environ)
            )
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, MOST_BYTES)
        self._socket = ours

    def fork(self, request: Mapping[str, Any], streams: Sequence[int]) -> Forked:
        ours, theirs = os.pipe()
        try:
            socket.send_fds(self._socket, [json.dumps(request).encode()], [*streams, theirs])
        finally:
            os.close(theirs)
        return Forked(request["command"], ours)


_forker: _Forker | None = None
_first = threading.Lock()


def _plain(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if not name.startswith("LONGSHORE_")}


def of_the_interpreter(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that an interpreter reads when it starts."""
    return {name: value for name, value in environment.items() if name.startswith(OF_THE_INTERPRETER)}


def can_fork(command: Sequence[str], environment: Mapping[str, str]) -> bool:
    """Whether a forked process would be the same: a database other than SQLite needs more imports."""
    return "--database" not in command and of_the_interpreter(environment) == of_the_interpreter(os.environ)


def fork(
    command: Sequence[str],
    *,
    cwd: Path,
    environment: Mapping[str, str],
    stdin: int,
    stdout: int,
    stderr: int,
    module: str = "cli",
    namespace: str | None = None,
) -> Forked:
    """Starts `python -m MODULE` with the arguments after the first of `command`, which is its name.

    It has the network of that namespace, as `ip netns` names it.
    """
    global _forker
    with _first:
        if _forker is None:
            _forker = _Forker()
    request = {
        "module": module,
        "command": list(command),
        "cwd": str(cwd),
        "environment": dict(environment),
        "namespace": namespace,
    }
    return _forker.fork(request, [stdin, stdout, stderr])


def run(
    command: Sequence[str], *, cwd: Path, environment: Mapping[str, str], within: float, module: str = "cli"
) -> subprocess.CompletedProcess[bytes]:
    """As `fork`, to the end of the process and of all that it has written: `subprocess.run` with captured output."""
    written: dict[int, bytearray] = {}
    pipes = [os.pipe() for _ in range(2)]
    try:
        with open(os.devnull, "rb") as nothing:
            sinks = [sink for _, sink in pipes]
            process = fork(
                command,
                module=module,
                cwd=cwd,
                environment=environment,
                stdin=nothing.fileno(),
                stdout=sinks[0],
                stderr=sinks[1],
            )
    finally:
        for _, sink in pipes:
            os.close(sink)
    deadline = time.monotonic() + within
    with selectors.DefaultSelector() as selector:
        for source, _ in pipes:
            written[source] = bytearray()
            selector.register(source, selectors.EVENT_READ)
        while selector.get_map():
            ready = selector.select(max(0.0, deadline - time.monotonic()))
            if not ready and time.monotonic() > deadline:
                process.kill()
                raise subprocess.TimeoutExpired(command, within, *map(bytes, written.values()))
            for key, _ in ready:
                piece = os.read(key.fd, MOST_BYTES)
                written[key.fd] += piece
                if not piece:
                    selector.unregister(key.fd)
                    os.close(key.fd)
    out, err = map(bytes, written.values())
    return subprocess.CompletedProcess(command, process.wait(max(0.0, deadline - time.monotonic())), out, err)


# the process that forks


def _import_all() -> None:
    from coordinator.store.drivers import only_sqlite

    only_sqlite()
    for package in PACKAGES:
        for found in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}."):
            if not found.name.endswith(("__main__", ".keyword_docs", "commands.tui")):
                importlib.import_module(found.name)
    assert "textual" not in sys.modules
    assert "psycopg" not in sys.modules


def serve(requests: socket.socket) -> None:
    """Forks for each request, until nobody can send one any more."""
    _import_all()
    gc.collect()
    gc.freeze()
    pipes: dict[int, tuple[int, int]] = {}  # by file descriptors of processes: their pids and pipes
    with selectors.DefaultSelector() as selector:
        selector.register(requests, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fd in pipes:
                    selector.unregister(key.fd)
                    _told(key.fd, *pipes.pop(key.fd))
                    continue
                message, received, *_ = socket.recv_fds(requests, MOST_BYTES, STREAMS + 1)
                if not message:
                    return
                *streams, pipe = received
                pid = os.fork()
                if pid == 0:
                    _become(json.loads(message), streams)
                for stream in streams:
                    os.close(stream)
                os.write(pipe, b"%d\n" % pid)
                process = os.pidfd_open(pid)
                pipes[process] = pid, pipe
                selector.register(process, selectors.EVENT_READ)


def _told(process: int, pid: int, pipe: int) -> None:
    """Answers how a process has ended."""
    _, status = os.waitpid(pid, 0)
    with contextlib.suppress(BrokenPipeError):  # nobody waits
        os.write(pipe, b"%d\n" % os.waitstatus_to_exitcode(status))
    os.close(pipe)
    os.close(process)


def _become(request: Mapping[str, Any], streams: Sequence[int]) -> NoReturn:
    """Turns this process, just forked, into the one that was asked for."""
    status = 1
    try:
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
        os.closerange(STREAMS, os.sysconf("SC_OPEN_MAX"))
        if request["namespace"]:
            _enter(request["namespace"])
        os.chdir(request["cwd"])
        os.environ.clear()
        os.environ.update(request["environment"])
        time.tzset()
        sys.argv = request["command"]
        sys.modules["__main__"] = types.ModuleType("__main__")
        sys.stdin = open(0, closefd=False)  # noqa: SIM115
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115
        for name in ("stdin", "stdout", "stderr"):
            setattr(sys, f"__{name}__", getattr(sys, name))
        _run(request["module"])
        status = 0
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:
        traceback.print_exc()
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(status)


def _enter(namespace: str) -> None:
    """Moves this process into a network namespace. Raises OSError."""
    with open(f"/run/netns/{namespace}", "rb") as place:
        if ctypes.CDLL(None, use_errno=True).setns(place.fileno(), CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _run(module: str) -> None:
    if module == "cli":  # as its script does
        from cli.main import main

        main()
    runpy.run_module(module, run_name="__main__", alter_sys=False)


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
