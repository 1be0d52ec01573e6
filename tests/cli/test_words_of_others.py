"""What others have named does nothing to the terminal that shows it."""

from __future__ import annotations

import io

from rich.text import Text

from coordinator.cli.tables import console, runs_table
from coordinator.cli.terminal import PlainConsole
from protocol.statuses import ExecutionStatus
from protocol.views import RunSummary

HOSTILE = "name\x1b]0;title\x07\x1b[31m\x9b2J\r"


def test_control_characters_in_names_are_not_shown() -> None:
    out = io.StringIO()
    run = RunSummary(id=1, name=HOSTILE, status=ExecutionStatus.SUCCESS, project=HOSTILE, ref=HOSTILE)
    console(out).print(runs_table([run]))
    console(out).print(Text(HOSTILE), HOSTILE)
    assert "name]0;title[31m2J" in out.getvalue()
    assert not set("\x1b\x07\x9b\r") & set(out.getvalue())


def test_colours_of_our_own_are_shown_on_a_terminal() -> None:
    out = io.StringIO()
    PlainConsole(file=out, force_terminal=True, color_system="standard").print(Text(HOSTILE, style="green"))
    assert "\x1b[32mname]0;title" in out.getvalue()
