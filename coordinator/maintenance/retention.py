"""Retention settings for finished runs. Data only."""

from __future__ import annotations

import msgspec


class Retention(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds on finished runs; unfinished runs and the newest run are never removed. None: no bound.

    `runs_for` and `artifacts_for` are seconds from a run's or attempt's end (a job's own `expire_in` takes precedence),
    `size` is bytes of logs, artifacts and workspaces together. `every` is the interval of passes, `young` the minimum
    age of an unreferenced blob before its removal: its run may be about to be submitted.
    """

    runs_for: float | None = None
    artifacts_for: float | None = None
    size: int | None = None
    every: float = 600.0
    young: float = 3600.0
