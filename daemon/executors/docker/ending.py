"""Waits for the end of one attempt's script, enforces its own time limit, and determines its outcome."""

from __future__ import annotations

import time
from contextlib import suppress
from datetime import UTC, datetime
from queue import Empty

from daemon.executors.base import Outcome
from daemon.executors.common.script import LEASE_OVER, stop_line
from daemon.executors.common.script_limits import limits_of
from daemon.executors.docker.api_client import labels_of
from daemon.executors.docker.container import JobContainer
from daemon.executors.docker.gate import LOOK_SECONDS, QUIET_SECONDS, NoAnswer, SignsOfLife
from daemon.executors.docker.logs import stored
from daemon.executors.docker.logs.multiplexed import ScriptEnd
from daemon.executors.docker.start import never_begins, not_begun
from daemon.runtime.thread_pool import THREADS, Task

SCRIPT_GRACE = 10.0
"""Seconds from SIGTERM to SIGKILL of a script that has exceeded its own time limit."""


def await_end(container: JobContainer) -> Outcome:
    """Blocks until the script has ended. Raises JobFailed if it did not begin, and the engine's exceptions.

    The last line of the log, if read, gives a script's end some 60 ms before the engine sees the container's end.
    (A daemon that did not release it waits for the latter, if it is to come: it needs the times.)
    """
    THREADS.start(Task(lambda: _await_container(container), f"wait {container.assignment.attempt}"))
    if container.found:
        container.project.adopt(labels_of(container.inspect()["Config"]))
    end = _first_end(container)
    if isinstance(end, ScriptEnd) and container.released_at is not None:
        return _script_outcome(container, end, time.monotonic() - container.released_at)
    if isinstance(end, ScriptEnd) and container.assignment.keep is not None:  # the container does not end with it
        return _script_outcome(container, end, _ran_until_now(container))
    while isinstance(end, ScriptEnd):
        end = container.ends.get()
    if isinstance(end, Exception):
        raise end
    return _container_outcome(container, end)


def _await_container(container: JobContainer) -> None:
    try:
        answer = container.engine.call("POST", f"/containers/{container.key}/wait", timeout=None)
        container.ends.put(int(answer["StatusCode"]))
    except Exception as error:
        container.ends.put(error)


def _first_end(container: JobContainer) -> ScriptEnd | int | Exception:
    """The first report of the script's end; stops a script that has exceeded its time limit.

    Raises JobFailed if a gate opened by this daemon does not answer.
    """
    expires = _expires_at(container)
    quiet_until = container.released_at + QUIET_SECONDS if container.released_at is not None else None
    signs: SignsOfLife | None = None
    while True:
        moments = [moment for moment in (expires, quiet_until) if moment is not None]
        with suppress(Empty):
            return container.ends.get(timeout=max(0.0, min(moments) - time.monotonic()) if moments else None)
        now = time.monotonic()
        if expires is not None and now >= expires:
            expires = None
            container.gate.tell(stop_line("expired", SCRIPT_GRACE))
        if quiet_until is not None and now >= quiet_until:
            signs = signs or container.gate.signs_of_life()
            quiet_until = None if container.gate.answered() else now + LOOK_SECONDS
            try:
                signs.check()
            except NoAnswer as error:
                if quiet_until is not None:
                    raise never_begins(container, error) from error


def _expires_at(container: JobContainer) -> float | None:
    """End of the script's own time limit (monotonic), if it has one."""
    limit = limits_of(container.last_environment().values).script
    if limit is None:
        return None
    since = container.released_at
    if since is None:
        since = container.site.released_at(container.name)
    return (time.monotonic() if since is None else since) + limit


def _script_outcome(container: JobContainer, end: ScriptEnd, ran_for: float) -> Outcome:
    """The outcome of a complete script.

    A failure after its network was removed is not the script's, nor is any result after files of its were.
    """
    failure = "" if container.killed else container.project.damage()
    if end.exit_code != 0 and not container.killed and container.network.gone():
        failure = f"its network was removed from outside: the container {container.network.holder} was ended"
    oom_killed = end.out_of_memory and end.exit_code != 0
    return Outcome(end.exit_code, oom_killed=oom_killed, ran_for=ran_for, failure=failure, expired=end.expired)


def _container_outcome(container: JobContainer, code: int) -> Outcome:
    """The outcome of an ended container: its script's, if the log has the script's end."""
    ran_for = time.monotonic() - container.released_at if container.released_at is not None else _ran_for(container)
    if end := stored.script_end(container.engine, container.key):
        return _script_outcome(container, end, ran_for)
    oom_killed = bool(container.inspect()["State"]["OOMKilled"])
    failure = ""
    if not oom_killed and not container.killed:
        if not stored.released_at(container.engine, container.key):
            raise not_begun(container, code)
        failure = f"the container was ended from outside the job (exit code {code})"
        if code == LEASE_OVER and container.assignment.lease is not None:
            failure = f"it ended itself: no contact with its worker for {container.assignment.lease:g} s"
    return Outcome(code, oom_killed=oom_killed, ran_for=ran_for, failure=failure)


def _ran_until_now(container: JobContainer) -> float:
    released = stored.released_at(container.engine, container.key)
    return max(0.0, (datetime.now(UTC) - released).total_seconds()) if released else 0.0


def _ran_for(container: JobContainer) -> float:
    """The job's running time by the engine's clock, for a daemon that did not release the job."""
    released = stored.released_at(container.engine, container.key)
    finished = datetime.fromisoformat(container.inspect()["State"]["FinishedAt"])
    return max(0.0, (finished - released).total_seconds()) if released else 0.0
