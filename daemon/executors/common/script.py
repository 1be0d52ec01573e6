"""Turns a job's commands into its container's command, as GitLab Runner does. Pure: strings in, strings out.

The shell side is `entry.sh`; this module makes its environment and its input lines.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Literal

import msgspec

from protocol.plan import JobPlan
from protocol.variables import VARIABLE_NAME

RELEASED_MARK = b"\x1elongshore released\n"
"""On stderr, when the gate has opened: its time stamp by the engine is the script's start."""
READY_MARK = b"\x1elongshore ready\n"
"""On stderr, before RELEASED_MARK: `entry.sh` reads its stdin, and a workspace from the environment is unpacked."""
BARE_MARK = b"\x1elongshore bare\n"
"""On stderr, from a shell that reads its stdin but lacks the container's environment: see `first_line`."""
END_MARK = re.compile(rb"\x1elongshore end (\d{1,3}) ([012])\n")
"""On stdout, after the last byte of script and after_script: exit code, and whether memory (1) or time (2) ran out."""
END_MARK_START = b"\x1elongshore end "
END_MARK_BYTES = len(END_MARK_START) + 6

WORKSPACE = "LONGSHORE_WORKSPACE"

LEASE_OVER = 75
"""Exit code of a container that ended itself, without END_MARK: its lease was not prolonged in time."""

PIECE_BYTES = 100_000
"""Size of a script's pieces: Linux allows at most 128 KiB in one string of an environment."""
MOST_IN_ENVIRONMENT = 256 << 10
"""Bytes of a job's scripts; larger ones become files: Linux allows 2 MiB of environment and arguments."""

FIND_SHELL = (
    "for shell in /usr/local/bin/bash /usr/bin/bash /bin/bash; do "
    '[ -x "$shell" ] && exec "$shell" -c \'eval "$LONGSHORE_ENTRY"\' "$shell"; done; eval "$LONGSHORE_ENTRY"'
)
SHELLS = frozenset({"sh", "ash", "bash", "dash", "ksh", "zsh"})

StopStatus = Literal["canceled", "failed", "expired"]


def without_comments(text: str) -> str:
    """Strips comments: the shell parses the text for every job, so it gets no more than it needs."""
    return "\n".join(line for line in text.splitlines() if line and not line.startswith("#")) + "\n"


ENTRY = without_comments(files(__package__).joinpath("entry.sh").read_text(encoding="utf-8"))


def quoted(text: str) -> str:
    """`text` as one word of POSIX shell."""
    return "'" + text.replace("'", "'\\''") + "'"


class Style(msgspec.Struct, frozen=True):
    """How a job's commands are run. With `trace`, the shell also prints each command as it executes it; with
    `sections`, each of several lines is a section of the log that can be unfolded; with `checks`, a command that fails
    ends the script even after `set +e`.
    """

    trace: bool = False
    sections: bool = False
    checks: bool = False


PLAIN = Style()
_CHECK = "{ case $? in 0) ;; *) exit $? ;; esac; } 2>/dev/null"
_NOW = '"${EPOCHSECONDS:-$(date +%s)}"'
"""Seconds since the epoch; bash needs no process for it."""


def script_text(commands: Sequence[str], style: Style = PLAIN, name: str = "script") -> str:
    """Shell text that runs `commands` in order, each echoed before its output; "" for none. `name` is for its sections.

    The echo is a group with stderr closed, so that `set -x` in the script does not show it a second time.
    """
    lines: list[str] = ["set -o xtrace"] if style.trace and commands else []
    for number, command in enumerate(commands):
        text = command.replace("\r\n", "\n").strip()
        first, newline, _ = text.partition("\n")
        section = f"section_{name}_step_{number}" if newline and style.sections else ""
        if section:
            start = f"section_start:%s:{section}[hide_duration=true,collapsed=true]\\r\\033[0K%s\\n"
            lines.append(f"{{ printf '{start}' {_NOW} {quoted(f'$ {text}')}; }} 2>/dev/null")
        else:
            echo = (f"$ {first} # collapsed multi-line command" if newline else f"$ {text}") if text else ""
            lines.append(f"{{ printf '%s\\n' {quoted(echo)}; }} 2>/dev/null")
        lines.append(text)
        if style.checks:
            lines.append(_CHECK)
        if section:
            lines.append(f"{{ printf 'section_end:%s:{section}\\r\\033[0K' {_NOW}; }} 2>/dev/null")
    return "\n".join(lines) + "\n" if lines else ""


class Scripts(msgspec.Struct, frozen=True):
    """A container's scripts, as shell text; `hook` runs first, in a shell of its own, outside the project's directory.

    `files` are the files that the text reads, by absolute path.
    """

    script: str
    after_script: str = ""
    hook: str = ""
    files: Mapping[str, str] = {}


def scripts_of(job: JobPlan, directory: str, style: Style = PLAIN) -> Scripts:
    """A job's scripts; those too large for an environment become files beside its project directory."""
    commands = {
        "script": [*job.before_script, *job.script],
        "after_script": job.after_script,
        "hook": job.pre_get_sources_script,
    }
    texts = {name: script_text(each, style, name) for name, each in commands.items()}
    if sum(len(text.encode()) for text in texts.values()) <= MOST_IN_ENVIRONMENT:
        return Scripts(texts["script"], texts["after_script"], texts["hook"])
    paths = {name: f"{directory}.tmp/longshore.{name}" for name in texts}  # no variable's name has a dot
    read = {name: f". {quoted(paths[name])}\n" if text else "" for name, text in texts.items()}
    files = {paths[name]: text for name, text in texts.items() if text}
    return Scripts(read["script"], read["after_script"], read["hook"], files)


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
    scripts: Scripts, *, directory: str, workspace: str | None = None, opens: bool = False, stays: bool = False
) -> dict[str, str]:
    """The variables for `entry.sh`, which removes them from the environment.

    `directory` is the project's in the container; `workspace` is a tar in base64 to be unpacked into it. If the
    container `opens` the directory, all its users may write there. If it `stays`, it does not end with its scripts.
    """
    return {
        "LONGSHORE_ENTRY": ENTRY,
        "LONGSHORE_DIRECTORY": directory,
        **_pieces("LONGSHORE_SCRIPT", scripts.script),
        **_pieces("LONGSHORE_AFTER", scripts.after_script),
        **(_pieces("LONGSHORE_HOOK", scripts.hook) if scripts.hook else {}),
        **({WORKSPACE: workspace} if workspace else {}),
        **({"LONGSHORE_OPEN": "1"} if opens else {}),
        **({"LONGSHORE_KEEP": "1"} if stays else {}),
    }


def entry_command(entrypoint: Sequence[str]) -> list[str]:
    """The container's command; its `entrypoint`, if any, gets it as arguments.

    An entrypoint that is just a shell would take `sh` for a script's name. One that drops the environment leaves a
    shell that gets everything on its stdin.
    """
    command = ["-c", f'[ -n "$LONGSHORE_ENTRY" ] || exec sh; {FIND_SHELL}']
    return command if _is_shell(entrypoint) else ["sh", *command]


def _is_shell(entrypoint: Sequence[str]) -> bool:
    """Whether these words end with a shell and only options for it: `/bin/bash -l`, `tini -- sh`."""
    words = list(entrypoint)
    while words and words[-1].startswith("-") and words[-1] != "--" and "c" not in words[-1]:
        words.pop()
    return bool(words) and posixpath.basename(words[-1]) in SHELLS


def first_line() -> bytes:
    """The first line sent to a container. `entry.sh` ignores it.

    An entrypoint such as `sh -c` drops our command and starts a shell that reads its stdin: this line leads it to
    `entry.sh`. Such a shell may read ahead, so nothing else is sent before READY_MARK. A shell without our environment
    writes BARE_MARK and waits for `bare_lines`.
    """
    return (
        f"if [ -n \"$LONGSHORE_ENTRY\" ]; then {FIND_SHELL}; else printf '\\036longshore bare\\n' >&2; fi\n"
    ).encode()


def bare_lines(environment: Sequence[str]) -> bytes:
    """Leads a shell without its container's `environment` (`NAME=VALUE`) to `entry.sh`."""
    pairs = (variable.partition("=") for variable in environment)
    text = "".join(f"export {key}={quoted(value)}\n" for key, _, value in pairs if VARIABLE_NAME.fullmatch(key))
    return text.encode() + first_line()


def release_lines(
    variables: Mapping[str, str],
    lease: float | None = None,
    *,
    after_seconds: float = 300.0,
    after_counts: bool = False,
) -> bytes:
    """Opens the gate: final values of `variables` for the script, then `go`; see `lease_line` for `lease`.

    `after_seconds` limits after_script; if it `after_counts`, its failure is the job's.

    It begins with a newline, in case an earlier daemon died in the middle of a line. Names that are invalid in a shell
    are omitted.
    """
    text = "".join(
        f"export {key}={quoted(value)}\n" for key, value in variables.items() if VARIABLE_NAME.fullmatch(key)
    )
    lines = ["\nbegin\n", *(f"+{line}\n" for line in text.split("\n")[:-1])]
    if lease is not None:
        lines.append(lease_line(lease).decode())
    return "".join([*lines, f"go {max(1, round(after_seconds))} {int(after_counts)}\n"]).encode()


def lease_line(seconds: float) -> bytes:
    """Lets the job continue for this time; without another one, the container then ends with LEASE_OVER."""
    return f"\nlease {max(0, int(seconds))}\n".encode()


def stop_line(status: StopStatus, grace: float) -> bytes:
    """Ends the script; see `entry.sh`."""
    return f"\nstop {status} {max(0, round(grace))}\n".encode()
