"""What workers leave on an engine that never come back: who may remove it, and who lives."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.models.containers import Container

from daemon.executors.base import Dependencies
from daemon.executors.docker.api_client import DockerClient
from daemon.executors.docker.belongings import Thing
from daemon.executors.docker.executor import DockerExecutor
from daemon.executors.docker.inventory import (
    Leftover,
    Life,
    Verdict,
    WorkersReport,
    clean,
    find_begun,
    inventory,
    judge,
)
from protocol.clock import boot
from tests.support.docker_jobs import WORKER, container_name, run_job
from tests.support.images import BUSYBOX
from tests.support.plans import assignment

OTHER = f"{WORKER}-other"
DAY = 86_400
BEGUN = r"printf '\036longshore released\n' >&2"


@pytest.fixture
def other(tmp_path: Path) -> Iterator[DockerExecutor]:
    """Another worker of the same coordinator, on the same engine."""
    lock = tmp_path / "workers" / "other.lock"
    lock.parent.mkdir()
    lock.touch()
    executor = DockerExecutor(OTHER, coordinator=WORKER, lock=lock, directory=tmp_path / "other", networks=1)
    yield executor
    executor.close()
    executor.sweep(set())


@pytest.fixture
def theirs(docker_client: docker.DockerClient) -> Callable[[], set[str]]:
    """Names of all that the other worker has."""
    labels: dict[str, Any] = {"label": f"longshore.worker={OTHER}"}

    def names() -> set[str]:
        containers = {str(one.name) for one in docker_client.containers.list(all=True, filters=labels)}
        return containers | {str(one.name) for one in docker_client.networks.list(filters=labels)}

    return names


def leave_behind(other: DockerExecutor) -> str:
    """A held job in a network that is used again."""
    job = assignment("true", to_come=100)
    sandbox = other.sandbox(job)
    sandbox.prepare(None)
    sandbox.hold()
    return container_name(job)


def test_a_worker_clears_away_what_another_one_has_left_for_a_day(
    executor: DockerExecutor,
    other: DockerExecutor,
    theirs: Callable[[], set[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    leave_behind(other)
    own = assignment("true")
    executor.sandbox(own).prepare(None)
    assert len(theirs()) == 2
    assert executor.strangers() == set()
    assert executor.clear(OTHER) == 0
    assert len(theirs()) == 2
    monkeypatch.setattr("daemon.executors.docker.executor.ABANDONED_SECONDS", -10)
    assert executor.strangers() == {OTHER}
    assert executor.clear(OTHER) > 0
    assert theirs() == set()
    assert executor.find() != []


def test_a_worker_keeps_off_what_workers_of_other_coordinators_have_left(
    executor: DockerExecutor, other: DockerExecutor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_behind(other)
    monkeypatch.setattr("daemon.executors.docker.executor.ABANDONED_SECONDS", -10)
    elsewhere = DockerExecutor(WORKER, coordinator="another", directory=tmp_path / "elsewhere")
    assert elsewhere.strangers() == set()


def leftovers_of_other(reports: dict[str, WorkersReport] | None = None, *, days: float = 0) -> list[Leftover]:
    """What is there of the other worker, as if it were so many days later."""
    things = [thing for thing in inventory(DockerClient()) if thing.labels["longshore.worker"] == OTHER]
    begun = find_begun(DockerClient(), things)
    return judge(things, reports or {}, begun, local=True, now=time.time() + days * DAY)


def judged(reports: dict[str, WorkersReport] | None = None, *, days: float = 0) -> dict[str, tuple[Life, Verdict]]:
    """The same, with life and verdict by name."""
    leftovers = leftovers_of_other(reports, days=days)
    return {one.thing.name: (one.life, one.verdict) for one in leftovers}


def test_what_a_living_worker_has_is_kept_however_old_it_is(other: DockerExecutor, tmp_path: Path) -> None:
    leave_behind(other)
    with (tmp_path / "workers" / "other.lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for reports in None, {WORKER: WorkersReport(gone=frozenset({OTHER}))}:
            assert set(judged(reports, days=400).values()) == {(Life.ALIVE, Verdict.KEEP)}


def test_what_a_dead_worker_held_goes_after_a_day_and_at_once_by_force(other: DockerExecutor) -> None:
    job = assignment("true")
    other.sandbox(job).prepare(None)
    leave_behind(other)
    assert [*judged().values()] == [(Life.DEAD, Verdict.FORCE)] * 3
    assert [*judged(days=2).values()] == [(Life.DEAD, Verdict.CLEAN)] * 3


def test_a_result_that_its_coordinator_could_still_take_goes_only_by_force_or_when_the_coordinator_says_so(
    other: DockerExecutor,
) -> None:
    job = assignment("true")
    sandbox = other.sandbox(job)
    sandbox.prepare(None)
    sandbox.release(Dependencies())
    sandbox.wait()
    name = container_name(job)
    assert judged(days=400) == {name: (Life.DEAD, Verdict.FORCE)}
    assert judged({WORKER: WorkersReport(busy=frozenset({OTHER}))}, days=400) == {name: (Life.DEAD, Verdict.KEEP)}
    assert judged({WORKER: WorkersReport(gone=frozenset({OTHER}))}) == {name: (Life.DEAD, Verdict.CLEAN)}


def test_of_a_worker_that_is_not_known_only_what_is_old_and_does_not_run_goes(
    executor: DockerExecutor, docker_client: docker.DockerClient
) -> None:
    labels = {"longshore.coordinator": "unknown", "longshore.worker": OTHER, "longshore.attempt": "1.1"}
    running, ended = [
        docker_client.containers.create(
            BUSYBOX,
            ["sh", "-c", command],
            labels={**labels, "longshore.role": "job", "longshore.attempt": f"{number}.1"},
        )
        for number, command in enumerate((f"{BEGUN}; sleep 600", BEGUN), 1)
    ]
    try:
        for one in running, ended:
            one.start()
        ended.wait()
        assert {verdict for _, verdict in judged().values()} == {Verdict.KEEP}
        after = judged(days=2)
        assert after[str(running.name)] == (Life.UNKNOWN, Verdict.KEEP)
        assert after[str(ended.name)] == (Life.UNKNOWN, Verdict.CLEAN)
    finally:
        for one in running, ended:
            one.remove(force=True)


def test_a_worker_of_an_earlier_boot_is_dead_on_its_own_host_and_unknown_elsewhere() -> None:
    labels = {
        "longshore.coordinator": "c",
        "longshore.worker": OTHER,
        "longshore.role": "job",
        "longshore.attempt": "1.1",
        "longshore.boot": "an earlier one",
        "longshore.lock": "/nowhere",
    }
    thing = Thing("containers", "x", "x", labels, "exited", time.time())
    assert boot()
    assert judge([thing], {}, (), local=True)[0].life is Life.DEAD
    assert judge([thing], {}, (), local=False)[0].life is Life.UNKNOWN


def test_what_a_kept_container_uses_is_kept_with_it(other: DockerExecutor) -> None:
    job = assignment("true", to_come=100)
    sandbox = other.sandbox(job)
    sandbox.prepare(None)
    sandbox.release(Dependencies())
    sandbox.wait()
    after = judged(days=2)
    assert len(after) == 2
    assert {verdict for _, verdict in after.values()} == {Verdict.FORCE}


def test_cleaning_removes_what_is_to_go_and_tells_what_could_not(
    other: DockerExecutor, docker_client: docker.DockerClient, theirs: Callable[[], set[str]]
) -> None:
    held = leave_behind(other)
    leftovers = leftovers_of_other()
    assert clean(DockerClient(), leftovers, force=False) == ([], [])
    Container.remove(docker_client.containers.get(held), force=True)
    gone, problems = clean(DockerClient(), leftovers, force=True)
    assert (len(gone), problems) == (2, [])
    assert theirs() == set()
    assert run_job(other, assignment("true")).outcome.exit_code == 0
