"""The loop's half of garbage collection: removes what the housekeeper proposes, unless it is in use."""

from __future__ import annotations

import logging
from collections.abc import Callable

from peewee import PeeweeException

from coordinator.engine.engine import Engine
from coordinator.files.blob_store import BlobStore
from coordinator.maintenance.housekeeper import Housekeeper
from coordinator.security.quota import Quota
from coordinator.store.store import Store

log = logging.getLogger(__name__)


class Collector:
    """Called in the coordinator's loop. `young` seconds protect a new blob; `removed` learns of removed runs."""

    def __init__(
        self,
        housekeeper: Housekeeper,
        engine: Engine,
        store: Store,
        blobs: BlobStore,
        quota: Quota,
        young: float,
        removed: Callable[[int], None],
    ) -> None:
        self._housekeeper = housekeeper
        self._engine = engine
        self._store = store
        self._blobs = blobs
        self._quota = quota
        self._young = young
        self._removed = removed

    def collect(self) -> None:
        """Removes at most one run or blob, and takes over the housekeeper's count of what projects use."""
        self._quota.count(self._housekeeper.counted)
        what = self._housekeeper.wanted()
        if what is None:
            return
        done = False
        try:
            done = self._remove_blob(what) if isinstance(what, str) else self._remove_run(what)
        except (PeeweeException, OSError) as error:
            log.warning("can't remove %s: %s", what, error)
        finally:
            self._housekeeper.answered(done)

    def _remove_blob(self, digest: str) -> bool:
        """Removes an unreferenced blob; False if it is too young."""
        if not self._blobs.discard(digest, self._young):
            return False
        self._quota.forget(digest)
        return True

    def _remove_run(self, run: int) -> bool:
        """Deletes a finished run's rows; False if the run is unfinished, for example because it was retried."""
        if run in self._engine.unfinished():
            return False
        self._store.remove_run(run)
        self._removed(run)
        log.info("removed by retention", extra={"run": run})
        return True
