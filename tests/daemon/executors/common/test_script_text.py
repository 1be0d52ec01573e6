"""What is made of a job's commands is pure text."""

from __future__ import annotations

import re
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.executors.common.script import (
    PIECE_BYTES,
    Scripts,
    Style,
    entry_environment,
    quoted,
    release_lines,
    script_text,
)


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
def test_a_quoted_word_is_the_word(text: str) -> None:
    shown = subprocess.run(["sh", "-c", f"printf %s {quoted(text)}"], capture_output=True, check=True).stdout
    assert shown == text.encode()


def test_long_scripts_are_cut_between_characters_and_come_together_again() -> None:
    for padding in range(4):
        script = "x" * padding + "日" * PIECE_BYTES
        environment = entry_environment(Scripts(script), directory="/")
        count = int(environment["LONGSHORE_SCRIPT_PIECES"])
        pieces = [environment[f"LONGSHORE_SCRIPT_{index}"] for index in range(count)]
        assert "".join(pieces) == script
        assert max(len(piece.encode()) for piece in pieces) <= PIECE_BYTES
        assert environment["LONGSHORE_AFTER_PIECES"] == "0"


def test_no_commands_are_no_script() -> None:
    assert script_text([]) == ""


def test_an_empty_command_is_an_empty_line() -> None:
    assert "printf '%s\\n' ''" in script_text(["  \n "])


def test_variables_whose_names_no_shell_takes_are_left_out_of_the_release() -> None:
    assert release_lines({"A": "1", "b-c": "2", "D\nE": "3"}) == b"\nbegin\n+export A='1'\ngo 300 0\n"


COMMANDS = ["echo one", "for x in a b\ndo echo $x\ndone", "echo two"]


@pytest.fixture(params=["bash", "sh"])
def shell(request: pytest.FixtureRequest) -> list[str]:
    """How a shell is called."""
    return [request.param, "-c"]


def test_a_command_of_several_lines_is_a_section_that_shows_all_of_it(shell: list[str]) -> None:
    text = script_text(COMMANDS, Style(sections=True))
    shown = subprocess.run([*shell, f"set -eu -o xtrace\n{text}"], capture_output=True, check=True)
    lines = re.sub(r":\d{10,}:", ":NOW:", shown.stdout.decode()).replace("\r\x1b[0K", "|").split("\n")
    assert lines == [
        "$ echo one",
        "one",
        "section_start:NOW:section_script_step_1[hide_duration=true,collapsed=true]|$ for x in a b",
        "do echo $x",
        "done",
        "a",
        "b",
        "section_end:NOW:section_script_step_1|$ echo two",
        "two",
        "",
    ]
    assert b"printf" not in shown.stderr, "a trace shows the script's commands only"


def test_a_failure_counts_after_set_plus_e_if_each_command_is_checked(shell: list[str]) -> None:
    commands = ["set +e", "true\n(exit 3)", "echo too late"]
    plain = subprocess.run([*shell, script_text(commands)], capture_output=True, check=False, text=True)
    checked = subprocess.run(
        [*shell, script_text(commands, Style(checks=True, sections=True))], capture_output=True, check=False, text=True
    )
    assert (plain.returncode, checked.returncode) == (0, 3)
    assert "too late" in plain.stdout
    assert "too late" not in checked.stdout
