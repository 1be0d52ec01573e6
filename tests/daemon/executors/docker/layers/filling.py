"""A worker that fills a layer, and stops in the middle to be killed: says `half`, then nothing more."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from daemon.executors.base import Layer
from daemon.executors.docker.executor import DockerExecutor
from tests.support.layers import Layered, layer_tar
from tests.support.plans import assignment


class Halting(Layered):
    """Never gives more than half of its layer."""

    def layers(self, owner: tuple[int, int], *, opened: bool) -> Sequence[Layer]:
        """See Checkout."""
        (whole,) = super().layers(owner, opened=opened)
        data = layer_tar(self.stack[0], owner, opened=opened)

        def archive() -> Iterator[bytes]:
            yield data[: len(data) // 2]
            print("half", flush=True)
            threading.Event().wait()

        return [Layer(whole.key, whole.size, archive)]


if __name__ == "__main__":
    worker, folder, directory = sys.argv[1:]
    stack = [{f"file.{number}": f"{number}\n" * 100 for number in range(200)}]
    executor = DockerExecutor(worker, coordinator=worker, directory=Path(directory))
    executor.sandbox(assignment("true", attempt="1.1")).prepare(Halting(Path(folder), stack))
    os._exit(1)
