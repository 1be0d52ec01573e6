"""One odd object on the engine is reported once, and touches nothing else: containers made by hand, bad answers."""

from __future__ import annotations

import contextlib
import logging
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.errors import NotFound
from docker.models.containers import Container

from daemon.executors.base import Dependencies, JobFailed
from daemon.executors.docker.executor import DockerExecutor
from protocol.errors import EngineUnavailable
from protocol.plan import ServiceSpec
from protocol.statuses import FailureReason
from tests.daemon.executors.docker.odd_engine import OddEngine
from tests.support.docker_jobs import WORKER, container_name, run_job
from tests.support.eventually import eventually
from tests.support.images import BUSYBOX
from tests.support.plans import assignment

OURS = {"longshore.coordinator": WORKER, "longshore.worker": WORKER, "longshore.role": "job"}


@pytest.fixture
def by_hand(docker_client: docker.DockerClient) -> Iterator[Callable[..., Container]]:
    """Makes containers of our image as somebody at the command line would; they are gone after the test."""
    made: list[Container] = []

    def make(labels: dict[str, str], *, image: str = BUSYBOX, start: bool = True, **more: Any) -> Container:
        container = docker_client.containers.create(image, ["sleep", "600"], labels=labels, **more)
        made.append(container)
        if start:
            container.start()
        return container

    yield make
    for container in made:
        with contextlib.suppress(NotFound):
            container.remove(force=True)


@pytest.fixture
def odd() -> Iterator[OddEngine]:
    """The engine, with odd answers to come."""
    with tempfile.TemporaryDirectory(dir="/tmp") as directory:  # a socket's path is short
        engine = OddEngine(Path(directory) / "odd.sock")
        yield engine
        engine.close()


@pytest.fixture
def behind(odd: OddEngine, executor: DockerExecutor, tmp_path: Path) -> DockerExecutor:
    """An executor whose engine is the odd one."""
    return DockerExecutor(WORKER, odd.url, coordinator=WORKER, directory=tmp_path / "cache", patience=2.0)


def released(executor: DockerExecutor, *commands: str, **job: Any) -> tuple[str, str]:
    """Starts a job and leaves it running: its attempt, and its container's id."""
    made = assignment(*(commands or ("sleep 600",)), **job)
    sandbox = executor.sandbox(made)
    sandbox.prepare(None)
    sandbox.release(Dependencies())
    eventually(lambda: next(one.state for one in executor.find() if one.attempt == made.attempt) == "running")
    with contextlib.closing(docker.from_env()) as client:
        return made.attempt, str(client.containers.get(container_name(made)).id)


SOME: tuple[dict[str, str], ...] = (
    {},
    {"longshore.attempt": ""},
    {"longshore.attempt": "../../etc/passwd"},
    {"longshore.attempt": "7"},
    {"longshore.attempt": "900.1", "longshore.role": "cache of a later version"},
    {"longshore.role": ""},
)


def test_containers_that_have_only_some_of_our_labels_are_told_of_once_and_left_alone(
    executor: DockerExecutor, by_hand: Callable[..., Container], caplog: pytest.LogCaptureFixture
) -> None:
    made = [by_hand({**OURS, **labels}) for labels in SOME]
    attempt, _ = released(executor)
    caplog.set_level(logging.WARNING)
    assert [one.attempt for one in executor.find()] == [attempt]
    for _ in range(2):
        executor.sweep(set())
    assert executor.find() == []
    for labels, odd in zip(SOME, made, strict=True):
        odd.reload()
        assert odd.status == "running", labels
        assert sum(str(odd.name) in record.getMessage() for record in caplog.records) == 1, labels


@pytest.mark.parametrize("lease", ["soon", "nan", "-5", "inf", ""])
def test_a_lease_that_is_no_number_is_none(
    executor: DockerExecutor, by_hand: Callable[..., Container], lease: str
) -> None:
    by_hand({**OURS, "longshore.attempt": "900.1", "longshore.lease": lease}, start=False)
    (found,) = executor.find()
    assert (found.attempt, found.lease) == ("900.1", None)
    executor.discard("900.1")
    assert executor.find() == []


def test_a_container_that_somebody_runs_from_an_image_made_of_a_job_is_left_alone(
    executor: DockerExecutor, docker_client: docker.DockerClient, by_hand: Callable[..., Container]
) -> None:
    job = assignment("true")
    executor.sandbox(job).prepare(None)
    image = docker_client.containers.get(container_name(job)).commit()
    debugging = by_hand({}, image=str(image.id), entrypoint=[])
    try:
        assert debugging.labels["longshore.attempt"] == job.attempt
        assert [one.attempt for one in executor.find()] == [job.attempt]
        executor.sweep(set())
        debugging.reload()
        assert debugging.status == "running"
        assert executor.find() == []
    finally:
        debugging.remove(force=True)
        docker_client.images.remove(str(image.id), force=True)


def test_labels_of_a_job_s_image_do_not_count(
    executor: DockerExecutor, docker_client: docker.DockerClient, by_hand: Callable[..., Container]
) -> None:
    victim = by_hand({})
    base = by_hand({"longshore.lease": "1", "longshore.network": str(victim.name)}, start=False)
    image = base.commit()
    try:
        job = assignment("true", image=str(image.id))
        executor.sandbox(job).prepare(None)
        (found,) = executor.find()
        assert (found.attempt, found.lease) == (job.attempt, None)
        executor.discard(job.attempt)
        victim.reload()
        assert victim.status == "running"
    finally:
        docker_client.images.remove(str(image.id), force=True)


def test_a_label_that_names_a_foreign_container_as_network_removes_nothing(
    executor: DockerExecutor, by_hand: Callable[..., Container]
) -> None:
    victim = by_hand({})
    attempt = "900.1"
    by_hand({**OURS, "longshore.attempt": attempt, "longshore.network": str(victim.name)}, start=False)
    executor.discard(attempt)
    executor.sweep(set())
    victim.reload()
    assert victim.status == "running"


def test_a_foreign_container_with_the_name_of_a_job_is_left_alone_and_the_job_runs(
    executor: DockerExecutor, by_hand: Callable[..., Container]
) -> None:
    job = assignment("echo ran")
    foreign = by_hand({}, name=container_name(job))
    ran = run_job(executor, job)
    assert (ran.outcome.exit_code, ran.lines[-1]) == (0, "ran")
    assert "docker rename" in ran.warnings[0]
    foreign.reload()
    assert foreign.status == "running"


def test_a_foreign_container_with_the_name_of_a_service_fails_the_job_and_is_left_alone(
    executor: DockerExecutor, by_hand: Callable[..., Container], leftovers: Callable[[], list[str]]
) -> None:
    job = assignment("true", services=[ServiceSpec(name=BUSYBOX, command=["sleep", "600"], aliases=["side"])])
    foreign = by_hand({}, name=f"{container_name(job)}-service-0")
    with pytest.raises(JobFailed, match="not created by this worker") as failed:
        run_job(executor, job)
    assert failed.value.reason is FailureReason.RUNNER_SYSTEM_FAILURE
    foreign.reload()
    assert foreign.status == "running"
    eventually(leftovers, so=lambda left: not left)


def test_a_network_in_which_somebody_else_s_container_is_waits_for_it_and_keeps_nothing_else(
    executor: DockerExecutor,
    docker_client: docker.DockerClient,
    by_hand: Callable[..., Container],
    leftovers: Callable[[], list[str]],
) -> None:
    service = ServiceSpec(name=BUSYBOX, command=["sleep", "600"], aliases=["side"])
    job, other = assignment("true", services=[service]), assignment("true")
    sandbox = executor.sandbox(job)
    sandbox.prepare(None)
    executor.sandbox(other).prepare(None)
    network = docker_client.networks.get(container_name(job))
    foreign = by_hand({})
    network.connect(foreign)
    sandbox.remove()
    executor.sweep(set())
    assert leftovers() == [container_name(job)]
    network.disconnect(foreign, force=True)
    executor.sweep(set())
    eventually(leftovers, so=lambda left: not left)


def test_volumes_of_an_attempt_go_after_its_containers(
    executor: DockerExecutor, docker_client: docker.DockerClient, by_hand: Callable[..., Container]
) -> None:
    labels = {**OURS, "longshore.attempt": "900.1"}
    volume = docker_client.volumes.create(f"longshore-{WORKER}-900.1", labels=labels)
    by_hand(labels, volumes={volume.name: {"bind": "/data"}})
    assert executor.sweep({"900.1"}) == 0
    assert executor.sweep(set()) == 2
    assert volume.name not in {one.name for one in docker_client.volumes.list()}


ANSWERS = [
    (404, {"message": "No such container: x"}),
    (409, {"message": "can not get logs from container which is dead or marked for removal"}),
    (500, {"message": "driver failed to remove root filesystem: device or resource busy"}),
    (500, b"no JSON"),
    (200, b"<html>a proxy</html>"),
    (200, {}),
    (200, None),
]


def test_whatever_the_engine_answers_about_one_container_the_others_are_found_and_removed(
    behind: DockerExecutor, odd: OddEngine, leftovers: Callable[[], list[str]]
) -> None:
    odd_attempt, odd_id = released(behind)
    name = container_name(assignment("true", attempt=odd_attempt))
    for status, body in ANSWERS:
        odd.forget()
        attempt, _ = released(behind)
        no_log = "(?!/logs)" if status == 200 else ""  # a log is anything
        odd.answer(f"/containers/({odd_id}|{name}){no_log}", status, body)
        found = {one.attempt: one.state for one in behind.find()}
        assert found[attempt] == "running", (status, body)
        if odd_attempt in found:  # what is not known to be unreleased must never be begun again
            assert found[odd_attempt] == "running", (status, body)
        behind.sweep(set())
        assert [name for name in leftovers() if name.endswith(attempt)] == [], (status, body)
        assert name in leftovers()


@pytest.mark.parametrize("state", ["removing", "dead"])
def test_a_container_on_its_way_out_is_no_attempt_and_is_not_waited_for(
    behind: DockerExecutor, odd: OddEngine, state: str
) -> None:
    attempt, id = released(behind)
    entry = {
        "Id": id,
        "Names": [f"/longshore-{WORKER[:12]}-{attempt}"],
        "State": state,
        "Created": 1,
        "Labels": {**OURS, "longshore.attempt": attempt},
    }
    odd.answer("GET /containers/json", 200, [entry])
    asked = odd.answer(f" /containers/{id}", 409, {"message": f"removal of container {id} is already in progress"})
    assert behind.find() == []
    assert behind.sweep(set()) == 0
    assert asked.asked == 0


ENTRIES: tuple[object, ...] = (
    {},
    "no object",
    {"Id": "x"},
    {"Id": "x", "Names": None, "Labels": None},
    {"Id": "x", "Names": [], "Labels": {**OURS, "longshore.attempt": "900.1"}},
    {"Id": "x", "Names": ["/x"], "Labels": {**OURS, "longshore.attempt": "900.1"}, "State": None, "Created": "?"},
)


def test_an_entry_in_which_fields_are_missing_hides_no_other(behind: DockerExecutor, odd: OddEngine) -> None:
    attempt, id = released(behind)
    whole = {
        "Id": id,
        "Names": [f"/longshore-{WORKER[:12]}-{attempt}"],
        "State": "running",
        "Created": 1,
        "Labels": {**OURS, "longshore.attempt": attempt},
    }
    for entry in ENTRIES:
        odd.forget()
        odd.answer("GET /containers/json", 200, [entry, whole])
        assert attempt in [one.attempt for one in behind.find()], entry
    odd.forget()
    odd.answer("GET /containers/json", 200, [*ENTRIES, whole])
    assert behind.sweep(set()) >= 1


@pytest.mark.parametrize(("status", "body"), [(500, {"message": "busy"}), (200, b"<html>"), (0, b"")])
def test_a_list_that_the_engine_fails_to_give_is_asked_for_again(
    behind: DockerExecutor, odd: OddEngine, status: int, body: object
) -> None:
    attempt, _ = released(behind)
    odd.answer("GET /containers/json", status, body, times=2)
    assert [one.attempt for one in behind.find()] == [attempt]


def test_an_engine_that_never_gives_the_list_is_told_with_its_own_words(behind: DockerExecutor, odd: OddEngine) -> None:
    odd.answer("GET /containers/json", 500, {"message": "database disk image is malformed"})
    with pytest.raises(EngineUnavailable, match="Docker can't list its containers: database disk image is malformed"):
        behind.find()


def test_what_an_engine_does_not_tell_of_itself_is_left_out(behind: DockerExecutor, odd: OddEngine) -> None:
    odd.answer("GET /info", 200, {"ServerVersion": "1.0"})
    assert behind.facts() == "Docker 1.0; project directories: copy-on-write"


def test_a_damaged_note_of_a_release_is_none(
    executor: DockerExecutor, tmp_path: Path, docker_client: docker.DockerClient
) -> None:
    notes = tmp_path / "cache" / "attempts"
    damages: list[Callable[[Path], object]] = [
        lambda note: note.write_bytes(b"\xff\xfe garbage"),
        lambda note: note.write_text(""),
        lambda note: note.unlink(),
        lambda note: note.mkdir(),
    ]
    attempt, _ = released(executor)
    for damage in damages:
        damage(notes / f"longshore-{WORKER[:12]}-{attempt}.released")
        (found,) = executor.find()
        assert (found.attempt, found.state) == (attempt, "running")
    executor.discard(attempt)
    assert executor.find() == []
