"""A line of a process's log is one line, whoever gave the names that are in it."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from cli.process.log_setup import JsonFormatter, ReadableFormatter, log_to_file


def test_a_name_can_not_forge_a_line_of_the_log_or_speak_to_the_terminal() -> None:
    record = logging.LogRecord(
        "coordinator", logging.INFO, "", 0, "submitted: %s", ("a\n12:00 forged\x1b[2J\x9b\u202e",), None
    )
    record.job = "b\r\nc"
    text = ReadableFormatter().format(record)
    assert r"submitted: a\n12:00 forged\x1b[2J\x9b\u202e (job=b\r\nc)" in text
    assert json.loads(JsonFormatter().format(record))["job"] == "b\r\nc"
    assert len(JsonFormatter().format(record).splitlines()) == 1


def test_a_log_that_can_not_be_written_is_said_once_and_does_not_fill_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = logging.getLogger()
    before = root.handlers[:], root.level
    monkeypatch.setattr(logging, "raiseExceptions", True)
    (tmp_path / "longshore.log").mkdir()
    try:
        log_to_file(tmp_path / "longshore.log")
        logging.getLogger("x").warning("lost")
        assert capsys.readouterr().err.splitlines() == [
            f"longshore: continuing without a log: {tmp_path / 'longshore.log'}: Is a directory"
        ]
    finally:
        root.handlers[:], root.level = before[0], before[1]
