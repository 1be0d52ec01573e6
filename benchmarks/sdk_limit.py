"""The limit: the cost of Docker itself. Runs containers through the SDK on several threads, prints the work's seconds.

python -m benchmarks.sdk_limit JOBS THREADS IMAGE
"""

from __future__ import annotations

import sys
import time
from concurrent.futures import ThreadPoolExecutor

import docker


def main(jobs: int, threads: int, image: str) -> None:
    """Create, start, wait, remove: the minimum for running a container."""
    client = docker.from_env()

    def run(_: int) -> None:
        container = client.containers.create(image, ["true"])
        container.start()
        container.wait()
        container.remove()

    started = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(run, range(jobs)))
    print(time.perf_counter() - started)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
