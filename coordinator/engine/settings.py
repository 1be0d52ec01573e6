"""What an operator may set of the engine. Seconds and bytes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True, frozen=True)
class Settings:
    """Bounds and patience. The defaults fit a fleet; tests shorten them."""

    heartbeat: float = 5.0  # how often a worker speaks
    offline_after: float = 20.0  # silence after which a worker gets no new jobs
    lost_after: float = 3600.0  # silence after which the jobs that survive an outage fail all the same
    restart_grace: float = 60.0  # after a start of the coordinator: until then no worker is called lost
    lease: float = 30.0  # jobs that move: their worker stops them when it has not heard from us for so long
    lease_margin: float = 15.0  # added to the lease before such a job is tried elsewhere
    accept_within: float = 15.0  # an assignment that is not accepted is sent again
    cancel_bound: float = 400.0  # grace and after_script (5 min at most) must have ended by then
    pending_timeout: float | None = 86_400.0  # a job that no worker takes fails then; None: never
    log_limit: int = 64 << 20  # of one job's log, unless its plan says otherwise
