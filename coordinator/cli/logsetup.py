"""How Longshore's long-lived processes log: on stderr, a readable line or (--log-json) a JSON object per record.

Which run, job, attempt or worker a record is about is given by `extra`, and shown in both forms.
"""

from __future__ import annotations

import json
import logging
import sys
import time

FIELDS = ("run", "job", "attempt", "worker")
"""What records may carry besides their message."""


class ReadableFormatter(logging.Formatter):
    """`12:00:01.250 WARNING daemon.worker: message (run=1 job=build)`."""

    def format(self, record: logging.LogRecord) -> str:
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        fields = " ".join(f"{name}={value}" for name, value in _fields(record).items())
        text = f"{clock}.{int(record.msecs):03} {record.levelname:7} {record.name}: {record.getMessage()}"
        text += f" ({fields})" if fields else ""
        return f"{text}\n{self.formatException(record.exc_info)}" if record.exc_info else text


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


def _fields(record: logging.LogRecord) -> dict[str, object]:
    return {name: getattr(record, name) for name in FIELDS if getattr(record, name, None) is not None}


def set_up_logging(*, as_json: bool = False, level: int = logging.INFO) -> None:
    """Sends all records of this process to stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if as_json else ReadableFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for name in ("urllib3", "docker"):
        logging.getLogger(name).setLevel(max(level, logging.WARNING))
