"""Messages about commands that people run in a job's container, and about kept containers.

A command goes from the client through the coordinator, which only relays, to the worker that has the container. Either
side sends at most WINDOW_BYTES beyond what the other has taken (`CommandCredit`), so that the coordinator holds little
of it, and both say something at least every PING_SECONDS. `command` is the id that the coordinator gave it.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from protocol.messages.shared import Message
from protocol.names import AttemptId

WINDOW_BYTES = 256 << 10
"""Bytes in flight in each direction: enough for 10 MB/s over a link with 25 ms of delay."""
PIECE_BYTES = 32 << 10
"""Largest payload of one message: keys typed meanwhile wait for no more than this."""
PING_SECONDS = 2.0
SILENT_SECONDS = 15.0
"""Silence after which the other side counts as gone."""
LARGEST_SCREEN = 10_000
"""Characters per row or column of a terminal."""

Signal = Literal["HUP", "INT", "QUIT", "TERM", "KILL", "USR1", "USR2"]


class Terminal(msgspec.Struct, frozen=True):
    """A client's terminal: its size in characters, and its type as in the variable TERM."""

    rows: int
    columns: int
    kind: str = "xterm"


# --- client -> coordinator --------------------------------------------------------------------------------------------


class OpenCommand(Message, frozen=True, kw_only=True, tag="open_command"):
    """Run a command in the container of a job that is running or kept; without `arguments`, a shell for people.

    With a `terminal` it gets one of its own, and its output is one stream. Answer: CommandOpened.
    """

    id: int
    run: int
    job: str
    arguments: list[str] = msgspec.field(default_factory=list)
    terminal: Terminal | None = None


class Drop(Message, frozen=True, kw_only=True, tag="drop"):
    """End the kept containers of a run, or of one job of it. Answer: Done, with their number."""

    id: int
    run: int
    job: str | None = None


# --- client -> coordinator -> worker ----------------------------------------------------------------------------------


class CommandInput(Message, frozen=True, kw_only=True, tag="command_input"):
    """(+payload) Bytes for its stdin."""

    command: str


class CommandInputEnd(Message, frozen=True, kw_only=True, tag="command_input_end"):
    """Its stdin ends here."""

    command: str


class CommandResize(Message, frozen=True, kw_only=True, tag="command_resize"):
    """The client's terminal has another size."""

    command: str
    rows: int
    columns: int


class CommandSignal(Message, frozen=True, kw_only=True, tag="command_signal"):
    """A signal for its processes."""

    command: str
    signal: Signal


class CommandClosed(Message, frozen=True, kw_only=True, tag="command_closed"):
    """The client is gone: end it. The coordinator sends this too, for a client that it can't reach."""

    command: str


# --- both directions --------------------------------------------------------------------------------------------------


class CommandCredit(Message, frozen=True, kw_only=True, tag="command_credit"):
    """So many bytes were taken since the last one; 0 is a sign of life."""

    command: str
    taken: int = 0


# --- worker -> coordinator -> client ----------------------------------------------------------------------------------


class CommandOutput(Message, frozen=True, kw_only=True, tag="command_output"):
    """(+payload) Bytes of its output: of stdout (1), which is all of a terminal's, or of stderr (2)."""

    command: str
    stream: int = 1


class CommandEnded(Message, frozen=True, kw_only=True, tag="command_ended"):
    """It has ended, or could not begin: then there is no `exit_code`, and `message` says why."""

    command: str
    exit_code: int | None = None
    message: str = ""


# --- coordinator -> client --------------------------------------------------------------------------------------------


class CommandOpened(Message, frozen=True, kw_only=True, tag="command_opened"):
    """Answer to OpenCommand: its id, and the worker that was told to run it."""

    id: int
    command: str
    worker: str


# --- coordinator -> worker --------------------------------------------------------------------------------------------


class RunCommand(Message, frozen=True, kw_only=True, tag="run_command"):
    """Run a command in the container of an attempt; see OpenCommand."""

    command: str
    attempt: str
    arguments: list[str] = msgspec.field(default_factory=list)
    terminal: Terminal | None = None


class DropKept(Message, frozen=True, kw_only=True, tag="drop_kept"):
    """Remove the kept container of an attempt, and all that belongs to it."""

    attempt: str


class KeptAttempt(msgspec.Struct, frozen=True, kw_only=True):
    """An ended attempt whose container a worker keeps for so many more seconds."""

    attempt: AttemptId
    seconds: float
