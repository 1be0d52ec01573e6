"""A line of a process's log is one line, whoever gave the names that are in it."""

from __future__ import annotations

import json
import logging

from coordinator.cli.logsetup import JsonFormatter, ReadableFormatter


def test_a_name_can_not_forge_a_line_of_the_log_or_speak_to_the_terminal() -> None:
    record = logging.LogRecord(
        "coordinator", logging.INFO, "", 0, "submitted: %s", ("a\n12:00 forged\x1b[2J\x9b",), None
    )
    record.job = "b\r\nc"
    text = ReadableFormatter().format(record)
    assert r"submitted: a\n12:00 forged\x1b[2J\x9b (job=b\r\nc)" in text
    assert json.loads(JsonFormatter().format(record))["job"] == "b\r\nc"
    assert len(JsonFormatter().format(record).splitlines()) == 1
