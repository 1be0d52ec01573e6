"""Starts one attempt's container and leads it to its gate; explains a script that did not begin."""

from __future__ import annotations

from daemon.executors.base import JobFailed
from daemon.executors.common.environment import Environment
from daemon.executors.docker.api_client import UP, EngineError, labels_of
from daemon.executors.docker.container import JobContainer, words_of
from daemon.executors.docker.container_spec import start_hint
from daemon.executors.docker.gate import EntryEnded, NoAnswer
from daemon.executors.docker.logs import stored
from protocol.statuses import FailureReason


def bring_to_gate(container: JobContainer, environment: Environment) -> None:
    """Makes the container wait at its gate, even if it died there with the engine; never once it was past it.

    `environment` is for services that ended with it. Raises JobFailed, EngineError, EngineUnavailable.
    """
    if container.gate.attached:
        return
    state = "created"
    if not container.fresh:
        facts = container.inspect()
        state, container.entrypoint = facts["State"]["Status"], words_of(facts["Config"]["Entrypoint"])
        container.project.adopt(labels_of(facts["Config"]))
    container.fresh = False
    if state not in ("created", *UP):
        if stored.released_at(container.engine, container.key):
            raise JobFailed(FailureReason.RUNNER_SYSTEM_FAILURE, "its container has already run")
        if services := container.services(environment):
            services.start()
            services.await_ready()
    _start(container, state)


def _start(container: JobContainer, state: str) -> None:
    try:
        container.gate.attach(state, (lambda: _call_start(container)) if state != "paused" else lambda: None)
    except EngineError as error:
        message = f"the container can't be started: {error.message}{start_hint(error.message, container.early)}"
        raise JobFailed(FailureReason.RUNNER_SYSTEM_FAILURE, message) from error
    if container.entrypoint:
        container.gate.greet()


def _call_start(container: JobContainer) -> None:
    path = f"/containers/{container.key}/start"
    try:
        container.engine.call("POST", path)
    except EngineError:
        if not container.network.revive():
            raise
        container.engine.call("POST", path)


def await_entry(container: JobContainer) -> None:
    """Waits until its shell is at the gate, its workspace in place. Raises JobFailed, Interrupted, EngineError."""
    try:
        container.gate.await_entry()
    except EntryEnded:
        code = int(container.inspect()["State"]["ExitCode"])
        raise not_begun(container, code) from None
    except NoAnswer as error:
        raise never_begins(container, error) from error


def never_begins(container: JobContainer, how: NoAnswer) -> JobFailed:
    """The failure of a job whose shell gives no answer; kills its container."""
    words = container.last_words()
    container.kill()
    what = f"the job's shell does not start in its container: {how}"
    return JobFailed(FailureReason.RUNNER_SYSTEM_FAILURE, f"{what}; {words}")


def not_begun(container: JobContainer, code: int) -> JobFailed:
    """The failure of a job whose container ended, with this exit code, before its script began."""
    message = f"the container ended before the script began (exit code {code}); {container.last_words()}"
    return JobFailed(FailureReason.RUNNER_SYSTEM_FAILURE, message)
