"""The executor finds, discards and sweeps what is its own, and nothing else; and says when there is no engine."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import docker
import pytest

from daemon.executors.base import Dependencies
from daemon.executors.docker.api_client import DockerClient, EngineError
from daemon.executors.docker.executor import DockerExecutor
from protocol.errors import EngineUnavailable
from protocol.plan import ServiceSpec
from tests.support.docker_jobs import WORKER, container_name, run_job
from tests.support.eventually import eventually
from tests.support.images import BUSYBOX, VOLUME
from tests.support.plans import assignment

SERVICE = ServiceSpec(name=BUSYBOX, command=["sleep", "600"])


def test_all_that_is_made_carries_labels_that_say_whose_it_is(
    executor: DockerExecutor, docker_client: docker.DockerClient
) -> None:
    job = assignment("true", services=[SERVICE], run=7)
    executor.sandbox(job).prepare(None)
    labels = {
        "longshore.coordinator": WORKER,
        "longshore.worker": WORKER,
        "longshore.run": "7",
        "longshore.job": "job",
        "longshore.attempt": job.attempt,
    }
    name = container_name(job)
    for one in docker_client.containers.get(name), docker_client.containers.get(f"{name}-service-0"):
        assert labels.items() <= one.labels.items()
    assert docker_client.networks.get(name).attrs["Labels"] == labels


def test_discarding_removes_all_of_one_attempt_and_nothing_else(
    executor: DockerExecutor, leftovers: Callable[[], list[str]]
) -> None:
    unwanted, wanted = assignment("sleep 600", services=[SERVICE]), assignment("true")
    for job in unwanted, wanted:
        executor.sandbox(job).prepare(None)
    executor.sandbox(unwanted).release(Dependencies())
    executor.discard(unwanted.attempt)
    assert leftovers() == [container_name(wanted)]
    executor.discard(unwanted.attempt)


def test_sweeping_leaves_what_is_kept_and_what_is_others(
    executor: DockerExecutor, docker_client: docker.DockerClient, leftovers: Callable[[], list[str]]
) -> None:
    kept, left = assignment("true"), assignment("true", services=[SERVICE])
    other_worker = DockerExecutor(f"{WORKER}-other", coordinator=WORKER)
    other_coordinator = DockerExecutor(WORKER, coordinator=f"{WORKER}-x")
    theirs = assignment("true")
    try:
        for job in kept, left:
            executor.sandbox(job).prepare(None)
        other_worker.sandbox(theirs).prepare(None)
        other_coordinator.sandbox(assignment("true", attempt=kept.attempt)).prepare(None)
        assert executor.sweep({kept.attempt}) == 4
        assert executor.sweep({kept.attempt}) == 0
        assert [found.attempt for found in executor.find()] == [kept.attempt]
        assert [found.attempt for found in other_worker.find()] == [theirs.attempt]
        assert len(other_coordinator.find()) == 1
    finally:
        assert other_worker.sweep(set()) == 1
        assert other_coordinator.sweep(set()) == 1


def test_an_attempt_that_is_assigned_again_while_its_leftovers_are_swept_is_prepared_after_that(
    executor: DockerExecutor, docker_client: docker.DockerClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a worker was killed between a service and its job."""
    job = assignment("true", services=[SERVICE])
    executor.sandbox(job).prepare(None)
    docker_client.containers.get(container_name(job)).remove(force=True)
    known: set[str] = set()
    deleting, go_on, prepared = threading.Event(), threading.Event(), threading.Event()
    delete = DockerClient.delete

    def slow_delete(engine: DockerClient, path: str) -> bool:
        deleting.set()
        go_on.wait(60)
        return delete(engine, path)

    def prepare() -> None:
        executor.sandbox(job).prepare(None)
        prepared.set()

    with monkeypatch.context() as patched:
        patched.setattr(DockerClient, "delete", slow_delete)
        sweep = threading.Thread(target=executor.sweep, args=(known,))
        sweep.start()
        assert deleting.wait(60)
        known.add(job.attempt)
        thread = threading.Thread(target=prepare)
        thread.start()
        prepared.wait(1)  # what would go wrong has its chance
        go_on.set()
        sweep.join(60)
        thread.join(60)
    assert prepared.is_set()
    assert docker_client.containers.get(f"{container_name(job)}-service-0").status == "running"
    assert executor.sandbox(job).prepare(None) is None
    assert run_job(executor, job).outcome.exit_code == 0


def test_what_is_being_removed_already_is_gone_when_it_is_deleted(executor: DockerExecutor) -> None:
    engine = DockerClient()
    for _ in range(3):
        job = assignment("sleep 600")
        sandbox = executor.sandbox(job)
        sandbox.prepare(None)
        sandbox.hold()
        path = f"/containers/{container_name(job)}"
        others = [threading.Thread(target=engine.delete, args=(path,)) for _ in range(3)]
        for other in others:
            other.start()
        engine.delete(path)
        with pytest.raises(EngineError) as gone:
            engine.call("GET", f"{path}/json")
        assert gone.value.status == 404
        for other in others:
            other.join()


def test_volumes_of_the_image_go_with_the_container(
    executor: DockerExecutor, docker_client: docker.DockerClient
) -> None:
    job = assignment("echo x >/data/x", image=VOLUME)
    sandbox = executor.sandbox(job)
    sandbox.prepare(None)
    (mount,) = docker_client.containers.get(container_name(job)).attrs["Mounts"]
    sandbox.release(Dependencies())
    assert sandbox.wait().exit_code == 0
    sandbox.remove()
    assert mount["Destination"] == "/data"
    assert mount["Name"] not in {volume.name for volume in docker_client.volumes.list()}


def test_removing_twice_or_what_was_never_made_is_no_error(executor: DockerExecutor) -> None:
    sandbox = executor.sandbox(assignment("true", services=[SERVICE]))
    sandbox.remove()
    sandbox.prepare(None)
    sandbox.remove()
    sandbox.remove()
    sandbox.kill()
    sandbox.stop(1)


def test_several_jobs_use_one_executor_at_once(executor: DockerExecutor, leftovers: Callable[[], list[str]]) -> None:
    logs: dict[int, str] = {}

    def run(number: int) -> None:
        logs[number] = run_job(executor, assignment(f"echo job {number}; sleep 0.2", f"echo end {number}")).log

    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {number: log.splitlines()[-1] for number, log in logs.items()} == {n: f"end {n}" for n in range(4)}
    eventually(leftovers, so=lambda left: not left)


def test_the_engine_is_told_about_in_one_line(executor: DockerExecutor) -> None:
    assert executor.facts().startswith("Docker ")
    assert "\n" not in executor.facts()


@pytest.mark.parametrize("url", ["unix:///nowhere/docker.sock", "tcp://127.0.0.1:1"])
def test_no_engine_is_one_clear_line_that_says_what_to_do(url: str) -> None:
    with pytest.raises(EngineUnavailable) as unavailable:
        DockerExecutor("worker", url).facts()
    message = str(unavailable.value)
    assert url in message
    assert "apt-get install docker.io" in message
    assert "\n" not in message


def test_an_address_of_another_kind_is_refused() -> None:
    with pytest.raises(EngineUnavailable, match="unix:///PATH or tcp://HOST:PORT"):
        DockerExecutor("worker", "npipe:////./pipe/docker")


def test_the_engine_is_looked_for_where_docker_s_own_tools_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    with pytest.raises(EngineUnavailable, match=r"none\.sock"):
        DockerExecutor("worker").facts()
