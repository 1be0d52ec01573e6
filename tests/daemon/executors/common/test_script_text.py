"""What is made of a job's commands is pure text."""

from __future__ import annotations

import subprocess

from hypothesis import given
from hypothesis import strategies as st

from daemon.executors.common.script import PIECE_BYTES, Scripts, entry_environment, quoted, release_lines, script_text


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
