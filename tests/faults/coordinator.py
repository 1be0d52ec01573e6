"""A coordinator whose patience fits a test: `python -m tests.faults.coordinator STATE BIND SETTINGS-AS-JSON`."""

from __future__ import annotations

import faulthandler
import json
import logging
import signal
import sys
from pathlib import Path

from coordinator.engine.settings import Settings
from coordinator.server import Coordinator
from coordinator.settings import CoordinatorSettings


def main() -> None:
    """Prints its address when it listens; runs until it is killed."""
    state, bind, engine = sys.argv[1:]
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    settings = CoordinatorSettings(state=Path(state), bind=bind, engine=Settings(**json.loads(engine)))
    coordinator = Coordinator(settings)
    coordinator.start()
    print(coordinator.address, flush=True)
    coordinator.run()


if __name__ == "__main__":
    main()
