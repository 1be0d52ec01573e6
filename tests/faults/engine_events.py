"""What Docker itself says of the containers of a coordinator: an account by its event stream, which is not ours.

Reads only labels and times.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from dataclasses import dataclass, field

import docker

JOB = {"longshore.role": "job"}


@dataclass(slots=True)
class Life:
    """One container of an attempt: when it was started and when it died, as Docker's clock says, in seconds."""

    container: str
    attempt: str
    starts: list[float] = field(default_factory=list)
    deaths: list[float] = field(default_factory=list)

    @property
    def begin(self) -> float:
        return self.starts[0]

    @property
    def end(self) -> float:
        return self.deaths[-1] if len(self.deaths) >= len(self.starts) else float("inf")


class EngineEvents:
    """Listens from its making until `close`."""

    def __init__(self, client: docker.DockerClient, coordinator: str) -> None:
        self._lives: dict[str, Life] = {}
        self._lock = threading.Lock()
        self._stream = client.events(
            decode=True, filters={"type": "container", "label": f"longshore.coordinator={coordinator}"}
        )
        self._thread = threading.Thread(target=self._listen, name="engine events", daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        for event in self._stream:
            labels = event["Actor"]["Attributes"]
            if not JOB.items() <= labels.items():
                continue
            with self._lock:
                id = event["Actor"]["ID"]
                life = self._lives.setdefault(id, Life(id, labels["longshore.attempt"]))
                at = event["timeNano"] / 1e9
                if event["Action"] == "start":
                    life.starts.append(at)
                elif event["Action"] == "die":
                    life.deaths.append(at)

    def close(self) -> None:
        """Stops listening."""
        self._stream.close()
        self._thread.join(60)

    def started(self) -> list[Life]:
        """All containers of jobs that were ever started, oldest first."""
        with self._lock:
            return sorted((life for life in self._lives.values() if life.starts), key=lambda life: life.begin)

    def attempts_of_jobs(self) -> dict[str, list[Life]]:
        """The started containers by job id."""
        found: dict[str, list[Life]] = defaultdict(list)
        for life in self.started():
            found[life.attempt.partition(".")[0]].append(life)
        return found
