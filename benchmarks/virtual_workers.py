"""Real worker daemons with virtual containers, each in a thread of one process.

Killed at any moment; the next process with the same names takes over their containers.
"""

from __future__ import annotations

import argparse
import threading
from pathlib import Path

import zmq

from benchmarks.virtual import VirtualExecutor
from daemon.settings import WorkerSettings
from daemon.worker import Worker


def main() -> None:
    """Runs until killed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.virtual_workers")
    parser.add_argument("--coordinator", required=True, metavar="ADDRESS")
    parser.add_argument("--directory", required=True, type=Path)
    parser.add_argument("--slots", type=int, default=2)
    parser.add_argument("names", nargs="+")
    options = parser.parse_args()
    zmq.Context.instance().set(zmq.MAX_SOCKETS, 4096)
    threads = []
    for name in options.names:
        settings = WorkerSettings(
            state_dir=options.directory / "state", coordinator=options.coordinator, name=name, slots=options.slots
        )
        worker = Worker(settings, VirtualExecutor(options.directory / "engine" / name))
        threads.append(threading.Thread(target=worker.run, name=name))
        threads[-1].start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main()
