"""A Dask cluster in a process of its own, driven over its stdin by the protocol of `dask_peer.py`."""

from __future__ import annotations

import subprocess
from pathlib import Path

from benchmarks.harness import Missing

STOP_SECONDS = 20.0


class Dask:
    """A cluster of two workers for the duration of the `with`. Raises Missing if it fails to start."""

    def __init__(self, python: list[str]) -> None:
        self._process = subprocess.Popen(
            [*python, str(Path(__file__).parent / "dask_peer.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def __enter__(self) -> Dask:
        if self._line() != "ready":
            self.__exit__()
            raise Missing("its cluster failed to start")
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def _ask(self, command: str) -> float:
        assert self._process.stdin is not None
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()
        return float(self._line())

    def tasks(self, count: int) -> float:
        """Seconds for `count` tasks submitted at once."""
        return self._ask(f"tasks {count}")

    def single(self, count: int) -> float:
        """Seconds for `count` tasks, one after another."""
        return self._ask(f"single {count}")
