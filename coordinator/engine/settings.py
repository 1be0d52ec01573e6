"""The engine's settings, in seconds and bytes."""

from __future__ import annotations

import msgspec


class Settings(msgspec.Struct, frozen=True):
    """Timeouts and limits. The defaults fit a fleet; tests shorten them."""

    heartbeat: float = 5.0  # interval of a worker's heartbeats
    offline_after: float = 20.0  # silence after which a worker gets no new jobs
    lost_after: float = 3600.0  # silence after which even jobs that survive an outage fail
    restart_grace: float = 60.0  # after a start of the coordinator: no worker counts as lost before
    lease: float = 30.0  # jobs that move: their worker stops them after this long without contact to us
    lease_margin: float = 15.0  # added to the lease before such a job is retried elsewhere
    accept_within: float = 15.0  # an assignment not accepted within this time is resent
    cancel_bound: float = 400.0  # grace and after_script (5 min at most) must have ended by then
    pending_timeout: float | None = 86_400.0  # a job that no worker takes fails after this; None: never
    log_limit: int = 64 << 20  # of one job's log, unless its plan sets another
