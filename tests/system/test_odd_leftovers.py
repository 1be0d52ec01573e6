"""Runs go on whatever odd things are left on Docker; `doctor` says what is there and clears it away."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import docker
import jsonschema
import pytest
from docker.errors import NotFound
from docker.models.containers import Container

from tests.support.eventually import eventually
from tests.support.system import System, leftovers, nobody_serves, repository, statuses

IMAGE = "longshore/busybox:test"
HELLO = f"job: {{image: {IMAGE}, script: [echo hello]}}"
UNTIL_TOLD = f"""
default: {{image: {IMAGE}}}
job: {{script: [echo up, sleep 600]}}
"""
SCHEMA = Path(__file__).parents[2] / "docs" / "schemas" / "doctor.json"


@pytest.fixture
def by_hand(docker_client: docker.DockerClient) -> Iterator[Callable[..., Container]]:
    """Starts a container as somebody at the command line would; it is gone after the test."""
    made: list[Container] = []

    def make(labels: dict[str, str], **more: Any) -> Container:
        made.append(docker_client.containers.run(IMAGE, ["sleep", "600"], labels=labels, detach=True, **more))
        return made[-1]

    yield make
    for container in made:
        with contextlib.suppress(NotFound):
            container.remove(force=True)


def test_odd_containers_end_no_run_and_are_left_as_they_are(
    system: System, tmp_path: Path, by_hand: Callable[..., Container]
) -> None:
    project = repository(tmp_path / "project", {".gitlab-ci.yml": HELLO})
    assert system.command("run", cwd=project).status == 0
    coordinator = system.coordinator_id
    some = {"longshore.coordinator": coordinator, "longshore.worker": "local"}
    odd = [
        by_hand(some),
        by_hand({**some, "longshore.role": "job"}),
        by_hand({**some, "longshore.role": "job", "longshore.attempt": "garbage", "longshore.lease": "soon"}),
        by_hand({**some, "longshore.role": "of a later version", "longshore.attempt": "900.1"}),
        by_hand({}, name=f"longshore-{coordinator[:12]}-2.1"),
    ]
    odd[1].pause()
    for _ in range(2):
        done = system.command("run", cwd=project)
        assert done.status == 0, done.err
        assert "job | hello\n" in done.out
    for container in odd:
        container.reload()
        assert container.status in ("running", "paused")
        container.remove(force=True)


def test_doctor_says_what_is_there_and_changes_nothing(system: System, tmp_path: Path) -> None:
    done = system.command("doctor")
    assert done.status == 0, done.out + done.err
    assert "docker: Docker" in done.out
    assert "coordinator: none runs here" in done.out
    assert not (system.folder / "state").exists()
    project = repository(tmp_path / "project", {".gitlab-ci.yml": HELLO})
    assert system.command("run", cwd=project).status == 0
    document = system.command("doctor", "--json").json
    jsonschema.validate(document, json.loads(SCHEMA.read_text()))
    names = {"docker", "cgroups", "storage", "images", "clock", "disk", "state directory", "git", "port", "keys"}
    assert {check["name"] for check in document["checks"]} >= names


def test_doctor_names_what_is_wrong_and_what_to_do(system_without_docker: System) -> None:
    system = system_without_docker
    state = system.folder / "state"
    state.mkdir(mode=0o755)
    done = system.command("doctor", "--coordinator", "tcp://127.0.0.1:1")
    assert done.status == 1
    assert "✗ docker: no Docker engine answers at unix:///nonexistent/docker.sock" in done.out
    assert "systemctl start docker" in done.out
    assert "✗ coordinator: no coordinator answers at tcp://127.0.0.1:1" in done.out
    assert "! keys: this user has no key for tcp://127.0.0.1:1" in done.out
    assert f"chmod 700 {state}" in done.out
    assert system.command("doctor", "--force").status == 2


def test_doctor_clears_away_what_a_killed_run_has_left_when_it_is_forced_to(
    system: System, tmp_path: Path, docker_client: docker.DockerClient
) -> None:
    project = repository(tmp_path / "project", {".gitlab-ci.yml": UNTIL_TOLD})
    run = system.start("run", cwd=project)
    eventually(lambda: "job | up\n" in run.out.read_text())
    coordinator = system.coordinator_id

    def seen(*arguments: str) -> list[dict[str, Any]]:
        document = system.command("doctor", "--json", "--only", coordinator, *arguments).json
        return [one for one in document["leftovers"] if one["coordinator"] == coordinator]

    (alive,) = seen()
    assert (alive["verdict"], alive["worker_is"]) == ("keep", "alive")
    assert [one["removed"] for one in seen("--clean", "--force")] == [False]
    run.kill()
    (wanted,) = seen("--clean", "--force")  # the next run would take it up
    assert (wanted["verdict"], wanted["worker_is"], wanted["removed"]) == ("keep", "dead", False)
    other = System(tmp_path / "other", extra={"LONGSHORE_STATE": str(tmp_path / "elsewhere")})
    other.folder.mkdir()
    unknown = other.command("doctor", "--json", "--clean", "--only", coordinator).json["leftovers"]
    assert [one["verdict"] for one in unknown] == ["force"]
    assert leftovers(docker_client, coordinator) != []
    assert system.command("cancel", "1").status == 0
    assert statuses(system.finished(1)) == {"job": "canceled"}
    eventually(lambda: not leftovers(docker_client, coordinator))
    eventually(lambda: nobody_serves(system))


def test_a_worker_that_is_killed_while_it_sweeps_leaves_no_more_than_it_found(
    system: System, tmp_path: Path, docker_client: docker.DockerClient, by_hand: Callable[..., Container]
) -> None:
    system.start_coordinator()
    labels = {"longshore.coordinator": system.coordinator_id, "longshore.worker": "w", "longshore.role": "job"}
    for number in range(1, 9):
        name = f"longshore-{system.coordinator_id[:12]}-90{number}.1"
        docker_client.containers.create(
            IMAGE, ["sleep", "600"], name=name, labels={**labels, "longshore.attempt": f"90{number}.1"}
        )
    before = len(leftovers(docker_client, system.coordinator_id))
    while before:
        worker = system.start_worker("w")
        eventually(lambda: len(leftovers(docker_client, system.coordinator_id)) < before)  # noqa: B023
        worker.kill()
        before = len(leftovers(docker_client, system.coordinator_id))
    worker = system.start_worker("w")
    system.wait_for_workers(1)
    done = system.run(repository(tmp_path / "project", {".gitlab-ci.yml": HELLO}))
    assert done.status == 0, done.err
    assert worker.popen.poll() is None
