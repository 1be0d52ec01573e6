"""What others have named does nothing to the terminal that shows it."""

from __future__ import annotations

import io
import json

import pytest
from rich.text import Text

from cli.follow.log_prefixer import JobOutput
from cli.render.json_views import print_json
from cli.render.safe_console import PlainConsole
from cli.render.tables import console, runs_table
from protocol.statuses import ExecutionStatus
from protocol.views import RunSummary

HOSTILE = "name\x1b]0;title\x07\x1b[31m\x9b2J\r\u202eabc\u200b"


def test_control_characters_in_names_are_not_shown() -> None:
    out = io.StringIO()
    run = RunSummary(id=1, name=HOSTILE, status=ExecutionStatus.SUCCESS, project=HOSTILE, ref=HOSTILE)
    console(out).print(runs_table([run]))
    console(out).print(Text(HOSTILE), HOSTILE)
    assert "name�]0;title�[31m�2J�abc�" in out.getvalue()
    assert not set("\x1b\x07\x9b\r\u202e\u200b") & set(out.getvalue())


def test_colours_of_our_own_are_shown_on_a_terminal() -> None:
    out = io.StringIO()
    PlainConsole(file=out, force_terminal=True, color_system="standard").print(Text(HOSTILE, style="green"))
    assert "\x1b[32mname�]0;title" in out.getvalue()


def test_names_and_messages_before_and_between_the_lines_of_a_run_are_not_obeyed() -> None:
    stream = io.BytesIO()
    output = JobOutput(stream, [HOSTILE], colors=False)
    output.log(HOSTILE, b"text\n")
    output.note(HOSTILE, f"failed: {HOSTILE}")
    assert not set("\x1b\x07\x9b\r\u202e\u200b") & set(stream.getvalue().decode())


def test_a_json_document_says_the_same_with_such_characters_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({HOSTILE: ["\udcff", "a\nb", "é"]})
    told = capsys.readouterr().out
    assert not set("\x1b\x07\x9b\r\u202e\u200b\udcff") & set(told)
    assert "é" in told
    assert json.loads(told) == {HOSTILE: ["\udcff", "a\nb", "é"]}
