"""Keeps the launcher running beside the coordinator: starts it by command, and again with growing pauses.

The launcher is a client like any other: its crash, slowness or end harms no run. See docs/team.md.
"""

from __future__ import annotations

import logging
import os
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from threading import Condition, Thread

from protocol.backoff import Backoff

log = logging.getLogger(__name__)

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
LONG_LIFE = 60.0
"""Seconds after which an exit counts as the first one again."""
END_SECONDS = 5.0
"""Time to end by itself."""


class LauncherProcess:
    """The launcher of a coordinator at `address`, with its state directory; `command` is without these. Thread-safe."""

    def __init__(self, command: Sequence[str], state: Path, address: str) -> None:
        self._command = [*command, "--until-eof", "--coordinator", address]
        self._environment = os.environ | {"LONGSHORE_STATE": str(state.absolute()), "LONGSHORE_CONFIG": os.devnull}
        self._changed = Condition()
        self._closed = False
        self._process: subprocess.Popen[bytes] | None = None
        self._thread: Thread | None = None

    def want(self) -> None:
        """Starts it, and keeps it running from now on."""
        with self._changed:
            if self._thread is None and not self._closed:
                self._thread = Thread(target=self._keep, name="launcher", daemon=True)
                self._thread.start()

    def close(self) -> None:
        """Ends it."""
        with self._changed:
            self._closed = True
            process = self._process
            self._changed.notify_all()
        if process is not None:
            _end(process)
        if self._thread is not None:
            self._thread.join(END_SECONDS)

    def _keep(self) -> None:
        backoff = Backoff(FIRST_PAUSE, LONGEST_PAUSE)
        while True:
            began = time.monotonic()
            with self._changed:
                if self._closed:
                    return
                try:
                    # Its stdin ends with this process, however that one ends.
                    self._process = subprocess.Popen(
                        self._command,
                        stdin=subprocess.PIPE,
                        stdout=subprocess.DEVNULL,
                        env=self._environment,
                        start_new_session=True,
                    )
                except OSError as error:
                    self._process = None
                    log.error("can't start the launcher: %s", error)
            status = self._process.wait() if self._process is not None else 1
            if time.monotonic() - began > LONG_LIFE:
                backoff.reset()
            pause = backoff.pause()
            with self._changed:
                if self._closed:
                    return
                log.warning("the launcher ended with status %d; starting it again in %.1f s", status, pause)
                self._changed.wait(pause)


def _end(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    process.terminate()
    process.stdin.close()
    try:
        process.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
