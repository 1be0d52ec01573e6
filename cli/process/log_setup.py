"""Logging: processes log to stderr, as lines or (--log-json) JSON objects; verbs log to a file.

`extra` carries a record's run, job, attempt or worker, shown in both forms.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import time
from pathlib import Path

from protocol.display import IN_A_NAME, IN_LINES

FILE_BYTES = 4 << 20
"""Size at which a log file is rotated; one old file is kept."""
FIELDS = ("run", "job", "attempt", "worker")
"""Context fields of a record."""


class ReadableFormatter(logging.Formatter):
    """`12:00:01.250 WARNING daemon.worker: message (run=1 job=build)`."""

    def format(self, record: logging.LogRecord) -> str:
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        fields = " ".join(f"{name}={value}" for name, value in _fields(record).items())
        text = f"{clock}.{int(record.msecs):03} {record.levelname:7} {record.name}: {record.getMessage()}"
        text += f" ({fields})" if fields else ""
        text = IN_A_NAME.sub(_escaped, text)  # it contains names chosen by other parties
        return f"{text}\n{IN_LINES.sub(_escaped, self.formatException(record.exc_info))}" if record.exc_info else text


class JsonFormatter(logging.Formatter):
    """One JSON object per record; `time` is seconds since the epoch."""

    def format(self, record: logging.LogRecord) -> str:
        document = {
            "time": round(record.created, 3),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_fields(record),
        }
        if record.exc_info:
            document["exception"] = self.formatException(record.exc_info)
        return json.dumps(document, ensure_ascii=False, default=str)


def _escaped(found: re.Match[str]) -> str:
    return ascii(found[0])[1:-1]


def _fields(record: logging.LogRecord) -> dict[str, object]:
    return {name: getattr(record, name) for name in FIELDS if getattr(record, name, None) is not None}


def log_to_stderr(*, as_json: bool = False) -> None:
    """For a dedicated process: the log is its output."""
    _log_to(logging.StreamHandler(sys.stderr), JsonFormatter() if as_json else ReadableFormatter())


def log_to_file(path: Path) -> None:
    """For a verb with a coordinator in its process: the terminal is reserved for the verb's output."""
    from logging.handlers import RotatingFileHandler

    logging.raiseExceptions = False  # a failed write (disk full, say) must not reach the terminal
    handler: logging.Handler = RotatingFileHandler(path, maxBytes=FILE_BYTES, backupCount=1, delay=True)
    try:
        path.open("ab").close()
    except OSError as error:
        print(f"longshore: continuing without a log: {path}: {error.strerror}", file=sys.stderr)
        handler = logging.NullHandler()
    _log_to(handler, ReadableFormatter())


def _log_to(handler: logging.Handler, formatter: logging.Formatter) -> None:
    handler.setFormatter(formatter)
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    for name in ("urllib3", "docker"):
        logging.getLogger(name).setLevel(logging.WARNING)
