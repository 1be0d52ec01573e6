"""What an operator may say about how much of finished runs is kept. Data only."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """What is kept of finished runs; an unfinished one, and the newest, is never touched. None: no bound.

    `runs_for` and `artifacts_for` are seconds from a run's or attempt's end (a job's own `expire_in` comes first),
    `size` is bytes of logs, artifacts and workspaces together. `every` is how often that is looked after, `young` how
    long a blob is left alone that no run refers to: it may be one that is being submitted.
    """

    runs_for: float | None = None
    artifacts_for: float | None = None
    size: int | None = None
    every: float = 600.0
    young: float = 3600.0
