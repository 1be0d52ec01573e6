"""Shell texts around a command that a person runs in a job's container. Pure: strings in, strings out.

POSIX sh with builtins only, as for `entry.sh`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from importlib.resources import files

from daemon.executors.common.script import quoted
from protocol.messages import Signal
from protocol.variables import VARIABLE_NAME

PID_MARK = re.compile(rb"\x1elongshore pid (\d+)\r?\n")
"""The first line on stdout: the command's process, which leads a session of its own."""
MOST_BEFORE_MARK = 4096
"""Bytes of output without PID_MARK after which there will be none."""

SHELL = (
    "for shell in /usr/local/bin/bash /usr/bin/bash /bin/bash; do "
    '[ ! -x "$shell" ] || exec "$shell"; done; exec "${0:-sh}"'
)
"""Becomes bash if the image has it, as the job's script did, else its sh."""

SCRIPT_NAME = "longshore-script"
_SCRIPT_AGAIN = files(__package__).joinpath("longshore_script.sh").read_text(encoding="utf-8")

_OF_SESSION = """session=%d
each() {
	found=1
	for process in /proc/[0-9]*; do
		{ read -r line <"$process/stat"; } 2>/dev/null || continue
		set -- "$1" ${line##*) }
		[ "$5" = "$session" ] && [ "$2" != Z ] || continue
		kill -s "$1" "${process#/proc/}" 2>/dev/null && found=0
	done
	return $found
}
"""
"""`each SIGNAL` sends it to all processes of a session; succeeds if there are any."""


def command_line(arguments: Sequence[str], directory: str, path: str, hidden: Iterable[str]) -> list[str]:
    """Runs `arguments`, or a shell for people, in `directory`, with `path` added to PATH and without the variables
    `hidden`. Its process says PID_MARK first.
    """
    unset = " ".join(name for name in hidden if VARIABLE_NAME.fullmatch(name))
    text = (
        "printf '\\036longshore pid %s\\n' \"$$\"\n"
        + (f"unset {unset}\n" if unset else "")
        + f'export PATH="${{PATH:-/usr/local/bin:/usr/bin:/bin}}":{quoted(path)}\n'
        + f"cd {quoted(directory)} 2>/dev/null\n"
        + ('exec "$@"' if arguments else SHELL)
    )
    return ["sh", "-c", text, "sh", *arguments]


def script_again(commands: Sequence[str], directory: str) -> str:
    """The program `longshore-script` of a job with these `commands`: a first character tells whether a line begins one.

    A line that ends the program's list of lines can't be among them, as each has that character.
    """
    lines: list[str] = []
    for command in commands:
        first, *rest = command.replace("\r\n", "\n").strip().split("\n")
        lines += [f">{first}\n", *(f"|{line}\n" for line in rest)]
    return _SCRIPT_AGAIN.replace("@DIRECTORY@", quoted(directory)).replace("@LINES@", "".join(lines))


def signal_line(process: int, signal: Signal) -> list[str]:
    """Sends a signal to the command's process group."""
    return ["sh", "-c", f"kill -s {signal} -{process}"]


def end_line(process: int, grace: float = 2.0) -> list[str]:
    """Ends all processes of the command's session: SIGHUP, after `grace` seconds SIGKILL."""
    text = (
        _OF_SESSION % process
        + f"left={round(grace * 10)}\neach HUP\neach CONT\n"
        + 'while [ "$left" -gt 0 ] && each 0; do\n'
        + "\tif sleep 0.1; then left=$((left - 1)); else sleep 1 || left=0; left=$((left - 10)); fi\n"
        + "done\neach KILL\n:"
    )
    return ["sh", "-c", text]
