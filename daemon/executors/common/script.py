"""Turns a job's commands into what its container runs, as GitLab Runner does it. Pure: strings in, strings out.

The shell side is `entry.sh`; this module makes the environment that it expects and the lines that it is told on stdin.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Literal

RELEASED_MARK = b"\x1elongshore released\n"
"""On stderr, when the gate has opened: the engine's time stamp of it is when the script began."""
READY_MARK = b"\x1elongshore ready\n"
"""On stderr, before the other one: `entry.sh` reads its stdin, and a workspace that came in the environment is in its
place."""
BARE_MARK = b"\x1elongshore bare\n"
"""On stderr, from a shell that reads its stdin and has none of the container's environment: see `first_line`."""
END_MARK = re.compile(rb"\x1elongshore end (\d{1,3}) ([012])\n")
"""On stdout, after the last byte of script and after_script: the exit code, and if memory (1) or time (2) ran out."""
END_MARK_START = b"\x1elongshore end "
END_MARK_BYTES = len(END_MARK_START) + 6

WORKSPACE = "LONGSHORE_WORKSPACE"

LEASE_OVER = 75
"""Exit code of a container that has ended itself, and without END_MARK: it was not told to go on in time."""

PIECE_BYTES = 100_000
"""What scripts are cut to: Linux takes at most 128 KiB in one string of an environment."""
MOST_IN_ENVIRONMENT = 256 << 10
"""Bytes of script and after_script; larger ones are files, for Linux takes 2 MiB of environment and arguments."""

FIND_SHELL = (
    "for shell in /usr/local/bin/bash /usr/bin/bash /bin/bash; do "
    '[ -x "$shell" ] && exec "$shell" -c \'eval "$LONGSHORE_ENTRY"\' "$shell"; done; eval "$LONGSHORE_ENTRY"'
)
SHELLS = frozenset({"sh", "ash", "bash", "dash", "ksh", "zsh"})
IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

StopStatus = Literal["canceled", "failed", "expired"]


def without_comments(text: str) -> str:
    """The shell reads the text for every job, so only what it needs is given to it."""
    return "\n".join(line for line in text.splitlines() if line and not line.startswith("#")) + "\n"


ENTRY = without_comments(files(__package__).joinpath("entry.sh").read_text(encoding="utf-8"))


def quoted(text: str) -> str:
    """`text` as one word of POSIX shell."""
    return "'" + text.replace("'", "'\\''") + "'"


def script_text(commands: Sequence[str], *, trace: bool = False) -> str:
    """Shell text that runs `commands` in order, each echoed before its output; "" for none.

    With `trace`, the shell also tells each command that it really runs.

    The echo is in a group of its own with stderr closed, so that `set -x` in the script does not show it a second time.
    """
    lines: list[str] = ["set -o xtrace"] if trace and commands else []
    for command in commands:
        text = command.replace("\r\n", "\n").strip()
        first, newline, _ = text.partition("\n")
        echo = (f"$ {first} # collapsed multi-line command" if newline else f"$ {text}") if text else ""
        lines.append(f"{{ printf '%s\\n' {quoted(echo)}; }} 2>/dev/null")
        lines.append(text)
    return "\n".join(lines) + "\n" if lines else ""


@dataclass(frozen=True, slots=True)
class Scripts:
    """What a container runs, as shell text. `files` are those that the text reads, by absolute path."""

    script: str
    after_script: str
    files: Mapping[str, str]


def scripts_of(script: Sequence[str], after_script: Sequence[str], directory: str, *, trace: bool = False) -> Scripts:
    """The scripts of a job; those that are too large for an environment are files beside its project directory."""
    texts = {"script": script_text(script, trace=trace), "after_script": script_text(after_script, trace=trace)}
    if sum(len(text.encode()) for text in texts.values()) <= MOST_IN_ENVIRONMENT:
        return Scripts(texts["script"], texts["after_script"], {})
    paths = {name: f"{directory}.tmp/longshore.{name}" for name in texts}  # no variable's name has a dot
    read = {name: f". {quoted(paths[name])}\n" if text else "" for name, text in texts.items()}
    files = {paths[name]: text for name, text in texts.items() if text}
    return Scripts(read["script"], read["after_script"], files)


def _pieces(name: str, text: str) -> dict[str, str]:
    """`text` as variables `name_0`, `name_1`, ..., cut between characters."""
    data = text.encode()
    pieces: list[str] = []
    start = 0
    while start < len(data):
        end = min(start + PIECE_BYTES, len(data))
        while end < len(data) and data[end] & 0xC0 == 0x80:
            end -= 1
        pieces.append(data[start:end].decode())
        start = end
    return {f"{name}_PIECES": str(len(pieces))} | {f"{name}_{index}": piece for index, piece in enumerate(pieces)}


def entry_environment(
    script: str, after_script: str, *, directory: str, workspace: str | None = None, opens: bool = False
) -> dict[str, str]:
    """The variables that `entry.sh` reads; it takes them out of the environment again.

    `directory` is the project's in the container; `workspace` is a tar in base64 that is to be unpacked into it. If
    the container `opens` the directory, all its users may write there.
    """
    return {
        "LONGSHORE_ENTRY": ENTRY,
        "LONGSHORE_DIRECTORY": directory,
        **_pieces("LONGSHORE_SCRIPT", script),
        **_pieces("LONGSHORE_AFTER", after_script),
        **({WORKSPACE: workspace} if workspace else {}),
        **({"LONGSHORE_OPEN": "1"} if opens else {}),
    }


def entry_command(entrypoint: Sequence[str]) -> list[str]:
    """The command of the container; its `entrypoint`, if any, gets it as its arguments.

    One that is nothing but a shell would take `sh` for the name of a script. One that drops the environment leaves us
    a shell that is told all on its stdin.
    """
    command = ["-c", f'[ -n "$LONGSHORE_ENTRY" ] || exec sh; {FIND_SHELL}']
    return command if _is_shell(entrypoint) else ["sh", *command]


def _is_shell(entrypoint: Sequence[str]) -> bool:
    """Whether these words end with a shell and nothing but options for it: `/bin/bash -l`, `tini -- sh`."""
    words = list(entrypoint)
    while words and words[-1].startswith("-") and words[-1] != "--" and "c" not in words[-1]:
        words.pop()
    return bool(words) and posixpath.basename(words[-1]) in SHELLS


def first_line() -> bytes:
    """What a container is sent first. `entry.sh` ignores it.

    An entrypoint such as `sh -c` drops our command and comes to a shell that reads its stdin: it gets there by this
    line. Such a shell may read ahead, so nothing else is sent before READY_MARK. A shell without our environment says
    BARE_MARK and waits for `bare_lines`.
    """
    return (
        f"if [ -n \"$LONGSHORE_ENTRY\" ]; then {FIND_SHELL}; else printf '\\036longshore bare\\n' >&2; fi\n"
    ).encode()


def bare_lines(environment: Sequence[str]) -> bytes:
    """What brings a shell to `entry.sh` that has nothing of its container's `environment` (`NAME=VALUE`)."""
    pairs = (variable.partition("=") for variable in environment)
    text = "".join(f"export {key}={quoted(value)}\n" for key, _, value in pairs if IDENTIFIER.fullmatch(key))
    return text.encode() + first_line()


def release_lines(
    variables: Mapping[str, str],
    lease: float | None = None,
    *,
    after_seconds: float = 300.0,
    after_counts: bool = False,
) -> bytes:
    """What opens the gate: final values of `variables` for the script, then the word; see `lease_line` for `lease`.

    `after_seconds` bounds after_script; if it `after_counts`, its failure is the job's.

    It begins with a line's end, in case that an earlier daemon died in the middle of a line. Names that no shell takes
    are left out.
    """
    text = "".join(f"export {key}={quoted(value)}\n" for key, value in variables.items() if IDENTIFIER.fullmatch(key))
    lines = ["\nbegin\n", *(f"+{line}\n" for line in text.split("\n")[:-1])]
    if lease is not None:
        lines.append(lease_line(lease).decode())
    return "".join([*lines, f"go {max(1, round(after_seconds))} {int(after_counts)}\n"]).encode()


def lease_line(seconds: float) -> bytes:
    """What lets the job go on for so long; without another one, all of it then ends with LEASE_OVER."""
    return f"\nlease {max(0, int(seconds))}\n".encode()


def stop_line(status: StopStatus, grace: float) -> bytes:
    """What ends the script; see `entry.sh`."""
    return f"\nstop {status} {max(0, round(grace))}\n".encode()
