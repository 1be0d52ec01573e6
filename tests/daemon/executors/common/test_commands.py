"""`longshore-script`, run by real shells."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from daemon.executors.common.commands import script_again

COMMANDS = [
    'export NAME="it\'s"',
    "echo 'one  two' $NAME\r\n",
    'if [ -n "$NAME" ]; then\n  echo inside\nfi',
    "",
    "echo LONGSHORE_LINES\nLONGSHORE_LINES() { :; }",
    "false | true",
    "echo last",
    "exit 4",
]
LISTED = """   1  export NAME="it's"
   2  echo 'one  two' $NAME
   3  if [ -n "$NAME" ]; then
   4    echo inside
   5  fi
   6  
   7  echo LONGSHORE_LINES
   8  LONGSHORE_LINES() { :; }
   9  false | true
  10  echo last
  11  exit 4
"""  # noqa: W291
WHOLE = """$ export NAME="it's"
$ echo 'one  two' $NAME
one  two it's
$ if [ -n "$NAME" ]; then # collapsed multi-line command
inside
$ 
$ echo LONGSHORE_LINES # collapsed multi-line command
LONGSHORE_LINES
$ false | true
"""  # noqa: W291


@pytest.fixture(params=["bash", "sh"])
def program(request: pytest.FixtureRequest, tmp_path: Path) -> list[str]:
    """It, run by a shell; only where there is no bash, another shell runs it to the end."""
    text = script_again(COMMANDS, str(tmp_path))
    path = tmp_path / "longshore-script"
    path.write_text(text if request.param == "bash" else text.replace("/bin/bash", "/bin/no-bash"))
    return [request.param, str(path)]


def again(program: list[str], *arguments: str) -> tuple[int, str, str]:
    done = subprocess.run([*program, *arguments], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


def test_the_script_runs_again_as_it_did_from_any_line(program: list[str]) -> None:
    stops = program[0] == "bash"  # the job's shell had pipefail
    rest = "$ echo last\nlast\n$ exit 4\n"
    assert again(program) == ((1, WHOLE, "") if stops else (4, WHOLE + rest, ""))
    assert again(program, "--from", "10") == again(program, "--from=10") == (4, rest, "")
    assert again(program, "--from", "4")[0] == 2  # the middle of a command: the shell says what is wrong
    assert again(program, "--from", "8")[1].startswith("$ LONGSHORE_LINES() { :; }\n$ false")


def test_its_lines_are_listed_and_others_refused(program: list[str]) -> None:
    assert again(program, "--list") == (0, LISTED, "")
    assert again(program, "--from", "12") == (
        2,
        "",
        "longshore-script: the script has 11 lines; see longshore-script --list\n",
    )
    for wrong in (["--from", "x"], ["--from", "0"], ["--from"], ["nonsense"]):
        status, out, err = again(program, *wrong)
        assert (status, out) == (2, "")
        assert "longshore-script" in err
