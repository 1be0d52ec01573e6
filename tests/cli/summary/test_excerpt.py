"""Which lines of a failed job's log its run's end shows."""

from __future__ import annotations

import pytest

from cli.summary.excerpt import LAST_LINES, LONGEST_LINE, excerpt

NOISE = "".join(f"step {number}\n" for number in range(20))


def test_the_first_error_of_the_last_command_is_found() -> None:
    log = f"$ ./configure\nerror: harmless\n$ make\n{NOISE}a.c:3: error: 'x' undeclared\n  x = 1;\n  ^\n{NOISE}"
    found = excerpt(log.encode())
    assert found.command == "make"
    assert found.first_error == ["a.c:3: error: 'x' undeclared", "  x = 1;", "  ^"]
    assert found.last_lines == [f"step {number}" for number in range(20 - LAST_LINES, 20)]


def test_without_one_in_the_last_command_the_first_error_of_the_whole_log_counts() -> None:
    log = f"$ make || status=1\nfatal: no\n{NOISE}$ exit $status\n"
    assert excerpt(log.encode()).first_error == ["fatal: no", "step 0", "step 1"]


def test_an_error_among_the_last_lines_is_shown_once() -> None:
    found = excerpt(b"$ make\none\nerror: two\nthree\n")
    assert found.first_error == []
    assert found.last_lines == ["$ make", "one", "error: two", "three"]


@pytest.mark.parametrize(
    ("after_script", "echo"),
    [(["echo error"], "$ echo error"), (["\necho a\necho b\n"], "$ echo a # collapsed multi-line command")],
)
def test_what_after_script_printed_is_left_out(after_script: list[str], echo: str) -> None:
    log = f"$ {'echo error'}\nearlier\n$ false\n{echo}\nerror\n"
    assert excerpt(log.encode(), after_script).last_lines[-1] == "$ false"


def test_an_after_script_that_did_not_run_hides_nothing() -> None:
    assert excerpt(b"$ false\nlast\n", ["echo after"]).last_lines == ["$ false", "last"]


def test_the_sections_of_the_error_are_named() -> None:
    log = (
        b"$ printf '\\033[0Ksection_start:1:none\\r\\033[0K'\n"
        b"section_start:1:gone\r\x1b[0KGone\nsection_end:2:gone\r\x1b[0K\n"
        b"section_start:3:outer[collapsed=true]\r\x1b[0KOuter\nsection_start:4:inner\r\x1b[0K\nerror: here\n"
        b"section_end:5:inner\r\x1b[0K\nend\n"
    )
    assert excerpt(log).section == ["Outer", "inner"]


def test_lines_are_as_a_terminal_shows_them() -> None:
    found = excerpt(b"10%\r100%\n\n\x1b[31mred\x1b[0m\x07\n" + b"x" * 1000)
    assert found.last_lines == ["100%", "red", "x" * LONGEST_LINE]


def test_an_empty_log_has_no_lines() -> None:
    found = excerpt(b"", ["echo"])
    assert (found.command, found.section, found.first_error, found.last_lines) == ("", [], [], [])
