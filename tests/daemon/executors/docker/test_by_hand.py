"""What somebody does to a running job's containers with `docker` by hand: the right reason, no crash, no hang."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import docker
import pytest
from docker.models.containers import Container

from daemon.executors.base import Dependencies, JobFailed, Outcome, Sandbox
from daemon.executors.docker.executor import DockerExecutor
from protocol.plan import ArtifactsSpec, ServiceSpec
from protocol.statuses import FailureReason
from tests.support.docker_jobs import WORKER, container_name, contents
from tests.support.eventually import eventually
from tests.support.images import BUSYBOX
from tests.support.plans import assignment

SERVICE = ServiceSpec(name=BUSYBOX, command=["sleep", "600"], aliases=["side"])
WAITS = "echo begun; until [ -e /tmp/go ]; do sleep 0.05; done"


class Running:
    """A job that has begun, and what comes of it."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.log = bytearray()
        self.result: Outcome | JobFailed | None = None
        sandbox.prepare(None)
        sandbox.release(Dependencies())
        self._threads = [threading.Thread(target=one, daemon=True) for one in (self._follow, self._wait)]
        for thread in self._threads:
            thread.start()

    def _follow(self) -> None:
        try:
            self.sandbox.follow_log(0, self.log.extend)
        except Exception as error:
            self.log += f"({error})".encode()

    def _wait(self) -> None:
        try:
            self.result = self.sandbox.wait()
        except JobFailed as error:
            self.result = error

    def end(self) -> Outcome | JobFailed:
        """How it ended."""
        for thread in self._threads:
            thread.join(30)
            assert not thread.is_alive(), "it hangs"
        assert self.result is not None
        return self.result


@pytest.mark.parametrize("deed", [Container.kill, lambda one: one.remove(force=True), lambda one: one.stop(timeout=0)])
def test_a_job_whose_container_somebody_ends_failed_for_the_system(
    executor: DockerExecutor,
    docker_client: docker.DockerClient,
    leftovers: Callable[[], list[str]],
    deed: Callable[[Container], object],
) -> None:
    job = assignment(WAITS)
    running = Running(executor.sandbox(job))
    eventually(lambda: b"begun\n" in running.log)
    deed(docker_client.containers.get(container_name(job)))
    result = running.end()
    if isinstance(result, JobFailed):
        assert result.reason is FailureReason.RUNNER_SYSTEM_FAILURE
        assert "outside the job" in result.message
    else:
        assert "outside the job" in result.failure
    running.sandbox.remove()
    eventually(leftovers, so=lambda left: not left)


def test_a_job_whose_container_is_renamed_ends_as_if_nothing_had_happened(
    executor: DockerExecutor,
    docker_client: docker.DockerClient,
    leftovers: Callable[[], list[str]],
    tmp_path: Path,
) -> None:
    job = assignment(WAITS, "echo made >file", artifacts=ArtifactsSpec(paths=["file"]))
    running = Running(executor.sandbox(job))
    eventually(lambda: b"begun\n" in running.log)
    container = docker_client.containers.get(container_name(job))
    container.rename(f"renamed-{WORKER}")
    assert [one.state for one in executor.find()] == ["running"]
    container.exec_run(["touch", "/tmp/go"])
    result = running.end()
    assert isinstance(result, Outcome)
    assert (result.exit_code, result.failure) == (0, "")
    (archive,) = running.sandbox.collect(tmp_path, succeeded=True)
    assert contents(archive.path) == {"file": "made\n"}
    running.sandbox.remove()
    eventually(leftovers, so=lambda left: not left)


def test_a_renamed_container_is_taken_up_by_the_next_daemon(
    executor: DockerExecutor, docker_client: docker.DockerClient, leftovers: Callable[[], list[str]], tmp_path: Path
) -> None:
    job = assignment("echo ran", "exit 3")
    before = executor.sandbox(job)
    before.prepare(None)
    before.release(Dependencies())
    before.wait()
    docker_client.containers.get(container_name(job)).rename(f"renamed-{WORKER}")
    after = DockerExecutor(WORKER, coordinator=WORKER, directory=tmp_path / "other")
    assert [one.attempt for one in after.find()] == [job.attempt]
    sandbox = after.sandbox(job)
    log = bytearray()
    sandbox.follow_log(0, log.extend)
    assert (sandbox.wait().exit_code, b"\nran\n" in log) == (3, True)
    sandbox.remove()
    eventually(leftovers, so=lambda left: not left)


def test_a_paused_job_can_be_canceled(
    executor: DockerExecutor,
    docker_client: docker.DockerClient,
    leftovers: Callable[[], list[str]],
) -> None:
    job = assignment(WAITS)
    running = Running(executor.sandbox(job))
    eventually(lambda: b"begun\n" in running.log)
    docker_client.containers.get(container_name(job)).pause()
    assert [one.state for one in executor.find()] == ["running"]
    running.sandbox.stop(0.1)
    running.sandbox.kill()
    assert isinstance(running.end(), Outcome)
    running.sandbox.remove()
    eventually(leftovers, so=lambda left: not left)


def test_a_container_that_is_removed_at_its_gate_fails_its_job_for_the_system(
    executor: DockerExecutor, docker_client: docker.DockerClient
) -> None:
    job = assignment("true")
    sandbox = executor.sandbox(job)
    sandbox.prepare(None)
    sandbox.hold()
    docker_client.containers.get(container_name(job)).remove(force=True)
    with pytest.raises(JobFailed, match="removed from outside the job") as failed:
        sandbox.release(Dependencies())
    assert failed.value.reason is FailureReason.RUNNER_SYSTEM_FAILURE
    sandbox.remove()


@pytest.mark.parametrize(
    "deed",
    [
        Container.kill,
        Container.pause,
        lambda one: one.remove(force=True),
        lambda one: one.rename(f"{one.name}-renamed"),
    ],
)
def test_whatever_is_done_to_a_service_the_job_goes_on_and_nothing_is_left(
    executor: DockerExecutor,
    docker_client: docker.DockerClient,
    leftovers: Callable[[], list[str]],
    deed: Callable[[Container], object],
) -> None:
    job = assignment(WAITS, services=[SERVICE])
    running = Running(executor.sandbox(job))
    eventually(lambda: b"begun\n" in running.log)
    deed(docker_client.containers.get(f"{container_name(job)}-service-0"))
    docker_client.containers.get(container_name(job)).exec_run(["touch", "/tmp/go"])
    result = running.end()
    assert isinstance(result, Outcome)
    assert result.exit_code == 0
    running.sandbox.service_logs()
    running.sandbox.remove()
    eventually(leftovers, so=lambda left: not left)


def test_a_service_that_is_removed_before_it_is_ready_is_unhealthy(
    executor: DockerExecutor, docker_client: docker.DockerClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = assignment("true", services=[SERVICE])
    name = f"{container_name(job)}-service-0"
    monkeypatch.setattr("daemon.executors.docker.services.SETTLE_SECONDS", 5.0)

    def remove() -> None:
        while not docker_client.containers.list(filters={"name": name}):
            pass
        docker_client.containers.get(name).remove(force=True)

    thread = threading.Thread(target=remove)
    thread.start()
    sandbox = executor.sandbox(job)
    with pytest.raises(JobFailed) as failed:
        sandbox.prepare(None)
    thread.join(20)
    assert failed.value.reason is FailureReason.SERVICE_UNHEALTHY, failed.value.message
    sandbox.remove()
