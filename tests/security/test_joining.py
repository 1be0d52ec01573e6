"""A second host joins by a token: the whole way through the command line, with other homes and state directories."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import docker
import pytest

from protocol.addresses import parse_tcp
from tests.conftest import Images
from tests.support.eventually import DEADLINE, eventually
from tests.support.system import System, jobs_of, leftovers, repository, running

HELLO = 'a: {script: ["echo hello from $CI_RUNNER_DESCRIPTION"], image: "longshore/busybox:test"}\n'

LONG = 'a: {script: [sleep 60], image: "longshore/busybox:test"}\n'


@pytest.fixture
def system(tmp_path: Path, images: Images) -> Iterator[System]:
    """A coordinator that listens on every interface."""
    folder = tmp_path / "system"
    folder.mkdir()
    made = System(folder)
    made.address = "tcp://0.0.0.0:0"
    made.start_coordinator()
    assert made.address is not None
    made.address = f"tcp://127.0.0.1:{parse_tcp(made.address).port}"
    yield made
    made.stop()


def elsewhere(system: System, name: str) -> System:
    """Another host's view of it: nothing of the coordinator's user is there."""
    home = system.folder / name
    home.mkdir(exist_ok=True)
    return replace(
        system, folder=home, processes=system.processes, extra={"HOME": str(home), "LONGSHORE_STATE": str(home / "s")}
    )


def token(system: System, role: str) -> str:
    """`token create`."""
    assert system.address
    done = system.command("token", "create", "--role", role, "--address", system.address)
    assert done.status == 0, done.err
    return done.out.strip()


def test_a_second_host_joins_runs_jobs_comes_back_and_is_shut_out(
    system: System, tmp_path: Path, docker_client: docker.DockerClient
) -> None:
    project = repository(tmp_path / "project", {".gitlab-ci.yml": HELLO})
    stranger = elsewhere(system, "stranger").command("list")
    assert stranger.status == 4
    assert "longshore login TOKEN" in stranger.err

    far, join = elsewhere(system, "far"), token(system, "worker")
    worker = far.start("worker", "--join", join, "--name", "far", name="far")
    system.wait_for_workers(1)
    dev = elsewhere(system, "dev")
    assert dev.command("login", token(system, "operator"), "--name", "dev").status == 0
    done = dev.run(project)
    assert done.status == 0, done.err
    assert "hello from far" in dev.log(1, "a")

    worker.terminate()
    again = far.start("worker", "--join", join, "--name", "far", name="far-again")  # the token is used up: it has a key
    system.wait_for_workers(1)
    assert dev.run(project).status == 0

    project.joinpath(".gitlab-ci.yml").write_text(LONG)
    run = dev.submit(project)
    eventually(lambda: dev.status(run, "a") == "running")
    assert running(docker_client, system.coordinator_id, run)
    assert system.command("keys", "revoke", "far").status == 0
    assert jobs_of(dev.finished(run))["a"]["failure_reason"] == "runner_system_failure"
    assert again.popen.wait(DEADLINE) != 0
    assert "your key was revoked" in again.said
    assert not leftovers(docker_client, system.coordinator_id)
    assert system.command("keys", "revoke", "dev").status == 0
    assert dev.command("list").status == 4

    audit = [(line["actor"], line["action"]) for line in system.command("audit", "--json").json]
    assert audit.count(("dev", "submit")) == 3
    assert audit[0][1] == "revoke"


def test_what_a_role_may_not_do_is_one_clear_line(system: System, tmp_path: Path) -> None:
    project = repository(tmp_path / "project", {".gitlab-ci.yml": HELLO})
    viewer = elsewhere(system, "viewer")
    assert viewer.command("login", token(system, "viewer"), "--name", "vera").status == 0
    assert viewer.command("list", "--json").json == []
    for command in (["run"], ["audit"], ["token", "create", "--role", "worker"], ["keys", "revoke", "vera"]):
        done = viewer.command(*command, cwd=project)
        assert done.status == 2, (command, done.err)
        assert "is not for a viewer to send" in done.err
        assert "Traceback" not in done.err
    used_up = elsewhere(system, "late").command("login", token(system, "worker"))
    assert used_up.status == 2
    assert "worker --join" in used_up.err
