"""Dask's side of the comparison, run by Dask's own Python: reads `tasks N` or `single N`, prints seconds.

Two single-threaded worker processes. Imports nothing of ours.
"""

from __future__ import annotations

import sys
import time

from distributed import Client, LocalCluster  # type: ignore[import-not-found]


def nothing(*_: object) -> None:
    """The task."""


def main() -> None:
    """Serves until stdin ends."""
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster, Client(cluster) as client:
        client.submit(nothing, pure=False).result()
        print("ready", flush=True)
        for line in sys.stdin:
            kind, count = line.split()
            started = time.perf_counter()
            if kind == "tasks":
                client.gather(client.map(nothing, range(int(count)), pure=False))
            else:
                for _ in range(int(count)):
                    client.submit(nothing, pure=False).result()
            print(time.perf_counter() - started, flush=True)


if __name__ == "__main__":
    main()
