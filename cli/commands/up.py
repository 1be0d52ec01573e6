"""The verb `up`: a coordinator and workers on this machine, each a process of its own, until Ctrl-C."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import IO

import click

from cli.commands.web import tls_files, tls_options
from cli.options.serving import ANY_TAG, Serving, ServingCommand, serving_options
from cli.process.interrupts import Presses
from cli.session.state_directory import StateDirectory
from protocol.addresses import DEFAULT_COORDINATOR, DEFAULT_WEB, parse_tcp
from protocol.backoff import Backoff
from protocol.client import Client
from protocol.display import clean
from protocol.errors import LongshoreError, UsageError
from protocol.places import state_directory

START_SECONDS = 30.0
"""Time for the coordinator to start listening."""
STOP_SECONDS = 15.0
"""Time for a process to end before it is killed, which loses nothing."""
RESTART_SECONDS = 1.0
LONGEST_RESTART_SECONDS = 60.0
"""Longest pause before the restart of a process that is not essential."""
SHORT_LIFE_SECONDS = 5.0
SHORT_LIVES = 5
"""A process with this many consecutive lifetimes under SHORT_LIFE_SECONDS is not restarted."""
PROMPT_SECONDS = 2.0
"""Time for an idle process to end."""
POLL_SECONDS = 0.2
COLORS = (32, 36, 35, 34, 33)


@dataclass(slots=True)
class Child:
    """A supervised process. Runs go on without one that is not `essential`, so it never ends `up`."""

    name: str
    arguments: list[str]
    prefix: bytes
    essential: bool = True
    pauses: Backoff = field(default_factory=lambda: Backoff(RESTART_SECONDS, LONGEST_RESTART_SECONDS))
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    short_lives: int = 0
    partial: bytes = b""
    start_at: float = field(default_factory=time.monotonic)


@click.command("up", cls=ServingCommand, in_project=True)
@click.option(
    "--workers", type=click.IntRange(0, 64), metavar="N", default=1, show_default=True, help="Number of workers."
)
@click.option(
    "--bind",
    default=DEFAULT_COORDINATOR,
    show_default=True,
    metavar="ADDRESS",
    help="Address for the coordinator to listen on.",
)
@click.option(
    "--web",
    metavar="HOST:PORT",
    is_flag=False,
    flag_value=DEFAULT_WEB,
    help=f"Serve webhooks and git pushes there; without a value at {DEFAULT_WEB}.",
)
@tls_options
@serving_options
def up_command(
    serving: Serving,
    workers: int,
    bind: str,
    web: str | None,
    tls_cert: Path | None,
    tls_key: Path | None,
    behind_proxy: bool,
) -> None:
    """Start a coordinator and workers on this machine and keep them running until Ctrl-C.

    Its workers accept jobs with any tags, unless --label gives them labels.
    """
    parse_tcp(bind)
    web_arguments = _web_arguments(web, tls_cert, tls_key, behind_proxy=behind_proxy)
    if serving.not_allowed:
        click.echo(f"longshore: {clean(serving.not_allowed)}", err=True)
    supervisor = Supervisor(StateDirectory(state_directory()))
    signal.signal(signal.SIGTERM, supervisor.interrupt)
    signal.signal(signal.SIGINT, supervisor.interrupt)
    try:
        address = supervisor.start_coordinator(bind, serving.coordinator.arguments())
        with Client(address) as client:
            busy = [worker.name for worker in client.workers() if worker.jobs]
        for number, (name, options) in enumerate(serving.workers(workers, busy).items(), 1):
            supervisor.add(
                f"worker-{number}",
                ["worker", "--until-eof", "--coordinator", address, "--name", name, *options.arguments()],
            )
        if web_arguments:
            supervisor.add("web", ["web", "--until-eof", "--coordinator", address, *web_arguments], essential=False)
        _say_how_to_go_on(address, serving)
        supervisor.watch()
    finally:
        supervisor.stop()


def _web_arguments(web: str | None, cert: Path | None, key: Path | None, *, behind_proxy: bool) -> list[str]:
    """The options of the web server, checked before anything starts; empty without one. Raises UsageError."""
    if web is None:
        if cert or key or behind_proxy:
            raise UsageError("--tls-cert, --tls-key and --behind-proxy are for the web server: give --web too")
        return []
    from web.server import WebSettings

    settings = WebSettings(coordinator="", bind=web, tls=tls_files(cert, key), behind_proxy=behind_proxy)
    settings.check()
    arguments = ["--bind", web]
    if settings.tls is not None:
        arguments += ["--tls-cert", str(settings.tls[0]), "--tls-key", str(settings.tls[1])]
    return [*arguments, "--behind-proxy"] if behind_proxy else arguments


def _say_how_to_go_on(address: str, serving: Serving) -> None:
    parsed = parse_tcp(address)
    click.echo(f"\nLongshore is up at {address}. In another terminal:\n  longshore run\n  longshore tui\n")
    if ANY_TAG in serving.labels:
        click.echo("Job tags are ignored here: its workers accept any. Set labels with --label.\n")
    if parsed.loopback:
        click.echo("It is local to this machine. For workers on other hosts, start it with --bind tcp://0.0.0.0:7700\n")
    else:
        click.echo(
            "Another worker: create a join token here and redeem it on a host with Docker:\n"
            "  longshore token create --role worker\n  longshore worker --join TOKEN\n"
        )


class Supervisor:
    """Starts processes, prefixes their output with their names, and restarts those that exit."""

    def __init__(self, state: StateDirectory) -> None:
        self._state = state
        self._children: list[Child] = []
        self._selector = selectors.DefaultSelector()
        self._presses = Presses()
        self._colors = sys.stderr.isatty()

    def interrupt(self, _number: int, _frame: FrameType | None) -> None:
        """Signal handler: the first signal ends `watch`, the second cuts `stop` short."""
        self._presses.add()

    def start_coordinator(self, bind: str, options: list[str]) -> str:
        """Starts the coordinator and returns its address. Raises LongshoreError if it fails to start."""
        child = self.add("coordinator", ["coordinator", "--until-eof", *options, "--bind", bind])
        deadline = time.monotonic() + START_SECONDS
        self._start_due()
        while (owner := self._state.owner()) is None or child.process is None or owner.pid != child.process.pid:
            self._pump(POLL_SECONDS / 4)
            if child.process is None or child.process.poll() is not None or time.monotonic() > deadline:
                self._pump(0)
                raise LongshoreError("the coordinator did not start; see its output above")
        child.arguments[-1] = owner.address  # the same after a restart: workers know no other address
        return owner.address

    def add(self, name: str, arguments: list[str], *, essential: bool = True) -> Child:
        """Starts `longshore ARGUMENTS` and keeps it running."""
        prefix = f"{name:11} | "
        if self._colors:
            prefix = f"\x1b[{COLORS[len(self._children) % len(COLORS)]}m{prefix}\x1b[0m"
        child = Child(name, arguments, prefix.encode(), essential)
        self._children.append(child)
        return child

    def watch(self) -> None:
        """Supervises until a signal. Raises LongshoreError for a process that keeps exiting."""
        while not self._presses.count:
            self._start_due()
            self._pump(POLL_SECONDS)
            for child in self._children:
                if child.process is not None and child.process.poll() is not None:
                    self._ended(child, child.process)

    def stop(self) -> None:
        """Ends all processes: workers finish their jobs unless a second signal comes; the coordinator ends last."""
        others, coordinator = self._children[1:], self._children[:1]
        workers = [child for child in others if child.essential]
        helpers = [child for child in others if not child.essential]
        self._end(helpers)
        self._reap(helpers)
        self._end(workers)
        if self._alive(workers):
            click.echo("waiting for running jobs; Ctrl-C again leaves their containers running", err=True)
        while self._alive(workers) and self._presses.count < 2:
            self._pump(POLL_SECONDS)
        self._end(self._alive(workers))
        self._reap(workers)
        self._end(coordinator)
        self._reap(coordinator)

    def _alive(self, children: list[Child]) -> list[Child]:
        return [child for child in children if child.process is not None and child.process.poll() is None]

    def _end(self, children: list[Child]) -> None:
        for child in self._alive(children):
            assert child.process is not None
            child.process.terminate()
        settled = time.monotonic() + PROMPT_SECONDS
        while self._alive(children) and time.monotonic() < settled:
            self._pump(POLL_SECONDS / 4)

    def _reap(self, children: list[Child]) -> None:
        """Waits for terminated processes."""
        deadline = time.monotonic() + STOP_SECONDS
        while (alive := self._alive(children)) and time.monotonic() < deadline:
            self._pump(POLL_SECONDS / 4)
        for child in alive:
            assert child.process is not None
            child.process.kill()
            child.process.wait()
        self._pump(0)

    def _start_due(self) -> None:
        for child in self._children:
            if child.process is None and child.start_at <= time.monotonic():
                child.process = subprocess.Popen(
                    [sys.executable, "-m", "cli", *child.arguments],
                    stdin=subprocess.PIPE,  # never written: EOF reports the end of this process
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    env=os.environ | {"LONGSHORE_CONFIG": os.devnull},  # the arguments carry all settings
                    start_new_session=True,  # Ctrl-C is for this process only, which ends the others in order
                )
                child.started = time.monotonic()
                assert child.process.stderr is not None
                os.set_blocking(child.process.stderr.fileno(), False)
                self._selector.register(child.process.stderr, selectors.EVENT_READ, child)

    def _ended(self, child: Child, process: subprocess.Popen[bytes]) -> None:
        lived = time.monotonic() - child.started
        child.short_lives = child.short_lives + 1 if lived < SHORT_LIFE_SECONDS else 0
        assert process.stdin is not None
        process.stdin.close()
        child.process = None
        pause = RESTART_SECONDS
        if not child.essential:
            if child.short_lives == 0:
                child.pauses.reset()
            pause = child.pauses.pause()
        elif child.short_lives >= SHORT_LIVES or process.returncode == 2:
            raise LongshoreError(f"{child.name} keeps exiting (exit status {process.returncode}); see its output above")
        self._print(child, f"exited with status {process.returncode}; restarting it\n".encode())
        child.start_at = time.monotonic() + pause

    def _pump(self, timeout: float) -> None:
        """Forwards the processes' output."""
        for key, _ in self._selector.select(timeout):
            stream: IO[bytes] = key.fileobj  # type: ignore[assignment]
            data = stream.read()
            if data:
                self._print(key.data, data)
            elif data == b"":
                self._selector.unregister(stream)

    def _print(self, child: Child, data: bytes) -> None:
        whole, newline, child.partial = (child.partial + data).rpartition(b"\n")
        if newline:
            lines = child.prefix + whole.replace(b"\n", b"\n" + child.prefix) + b"\n"
            sys.stderr.buffer.write(lines)
            sys.stderr.buffer.flush()
