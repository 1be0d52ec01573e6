"""A subscriber of the feed: prints `ready`, and on SIGTERM the time of each attempt's statuses (monotonic).

python -m benchmarks.watcher ADDRESS
"""

from __future__ import annotations

import signal
import sys
import time

from protocol.client import Client
from protocol.events import JobChanged


def main(address: str) -> None:
    """Watches until SIGTERM."""
    stopped: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: stopped.append(number))
    seen: dict[tuple[str, str], float] = {}
    with Client(address) as client:
        feed = client.feed()
        feed.receive(5.0)
        print("ready", flush=True)
        while not stopped:
            item = feed.receive(0.1)
            at = time.monotonic()
            if item and isinstance(item[0], JobChanged) and item[0].job.attempt_id:
                seen.setdefault((item[0].job.attempt_id, item[0].job.status.value), at)
        feed.close()
    for (attempt, status), at in seen.items():
        print(attempt, status, at)


if __name__ == "__main__":
    main(sys.argv[1])
