"""What a dashboard knows, without screens: `python -m tests.faults.watcher ADDRESS` tells it for each line of stdin."""

from __future__ import annotations

import asyncio
import sys

import msgspec

from protocol.views import RunSummary, WorkerView
from tui.client.feed_client import FeedClient
from tui.client.model import ConnectionState, Model

COMPARED = 100
"""Newest runs that are told; a dashboard that came late has not seen all the older ones."""


class Known(msgspec.Struct):
    """The state as far as it must be the same for everybody."""

    online: bool
    seq: int
    runs: list[RunSummary]
    workers: list[WorkerView]


def known(model: Model) -> Known:
    """What the model says now."""
    runs = sorted(model.runs.values(), key=lambda run: -run.id)[:COMPARED]
    workers = [msgspec.structs.replace(worker, last_seen=None) for worker in model.workers.values()]
    return Known(model.connection is ConnectionState.ONLINE, model.seq, runs, workers)


async def main() -> None:
    """Until stdin ends."""
    model = Model()
    client = FeedClient(sys.argv[1], model, lambda: None)
    client.start()
    while await asyncio.to_thread(sys.stdin.readline):
        print(msgspec.json.encode(known(model)).decode(), flush=True)
    await client.stop()


if __name__ == "__main__":
    asyncio.run(main())
