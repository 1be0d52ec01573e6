"""A worker daemon with an executor that does nothing, to measure Longshore alone.

Its jobs need no Docker. The rest of the daemon (sockets, slots, threads, acknowledgements) is real.
"""

from __future__ import annotations

import argparse
import signal
import tempfile
from pathlib import Path

from cli.process import interpreter
from daemon.executors.dummy.executor import DummyExecutor
from daemon.settings import WorkerSettings
from daemon.worker import Worker


def main() -> None:
    """Runs until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.noop_worker")
    parser.add_argument("--coordinator", required=True, metavar="ADDRESS")
    parser.add_argument("--name", required=True)
    parser.add_argument("--slots", type=int, default=2)
    options = parser.parse_args()
    interpreter.begin()
    with tempfile.TemporaryDirectory(prefix="longshore-noop-") as state:
        worker = Worker(
            WorkerSettings(
                state_dir=Path(state), coordinator=options.coordinator, name=options.name, slots=options.slots
            ),
            DummyExecutor(),
        )
        signal.signal(signal.SIGTERM, lambda *_: worker.stop())
        interpreter.settle()
        worker.run()


if __name__ == "__main__":
    main()
