"""Jobs use networks one after the other, and find nothing there of each other: real containers."""

from __future__ import annotations

import contextlib
import io
import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import docker
import pytest
from docker.models.containers import Container

from daemon.executors.base import Dependencies, JobFailed, Outcome
from daemon.executors.docker.executor import DockerExecutor
from daemon.executors.docker.networks import pause_container, pool
from daemon.executors.policy import make_policy
from protocol.messages import Assignment
from protocol.plan import ServiceSpec
from tests.support.docker_jobs import WORKER, Ran, container_name, run_job
from tests.support.eventually import eventually
from tests.support.images import BUSYBOX, DEBIAN, ENTRYPOINT, LISTENING, VOLUME
from tests.support.plans import assignment

HOLDERS: dict[str, Any] = {"label": [f"longshore.worker={WORKER}", "longshore.role=network"]}
NAMESPACE = "readlink /proc/self/ns/net"


@pytest.fixture
def holders(docker_client: docker.DockerClient) -> Callable[[], list[str]]:
    """The names of the containers that hold networks."""
    return lambda: [
        str(one.name) for one in docker_client.containers.list(all=True, ignore_removed=True, filters=HOLDERS)
    ]


@pytest.fixture
def sharing(tmp_path: Path, executor: DockerExecutor, monkeypatch: pytest.MonkeyPatch) -> Iterator[DockerExecutor]:
    """An executor whose jobs use at most two networks one after the other, however slow the machine is meanwhile."""
    monkeypatch.setattr(pause_container, "ANSWER_SECONDS", 60.0)
    monkeypatch.setattr(pool, "KEEP_SECONDS", 120.0)
    monkeypatch.setattr(pool, "RECENT", 120.0)
    sharing = DockerExecutor(WORKER, coordinator=WORKER, directory=tmp_path / "cache", networks=2)
    yield sharing
    sharing.close()


def until_shared(executor: DockerExecutor, holders: Callable[[], list[str]], image: str = BUSYBOX) -> str:
    """Prepares jobs, with many to come, until one has joined a network; which one that is. None of them runs."""

    def joined() -> str:
        job = assignment("true", image=image, to_come=pool.MANY)
        sandbox = executor.sandbox(job)
        try:
            sandbox.prepare(None)
            return network_of(job)
        finally:
            sandbox.remove()

    found = eventually(joined)
    assert found in holders()
    return found


def network_of(job: Assignment) -> str:
    """The holder whose network a job's container has joined, "" if none."""
    with contextlib.closing(docker.from_env()) as client:
        return str(client.containers.get(container_name(job)).labels.get("longshore.network", ""))


def run_and_see(executor: DockerExecutor, job: Assignment) -> tuple[Ran, str]:
    """Runs a job. What it said, and the holder whose network it had joined, "" if none."""
    watched = executor.sandbox(job)
    watched.prepare(None)
    try:
        network = network_of(job)
        watched.release(Dependencies())
        log = bytearray()
        watched.follow_log(0, log.extend)
        outcome = watched.wait()
        return Ran(outcome, log.decode()), network
    finally:
        watched.remove()


def test_jobs_of_one_image_use_a_network_one_after_the_other(
    sharing: DockerExecutor, holders: Callable[[], list[str]]
) -> None:
    first = until_shared(sharing, holders)
    spaces = {run_and_see(sharing, assignment(NAMESPACE))[0].lines[-1] for _ in range(3)}
    assert len(spaces) == 1
    assert holders() == [first]


def test_a_network_is_made_for_many_jobs_to_come_or_after_some_that_had_none(
    sharing: DockerExecutor, holders: Callable[[], list[str]]
) -> None:
    for _ in range(pool.FEW - 1):
        assert run_and_see(sharing, assignment("true", to_come=pool.MANY - 1))[1] == ""
        assert run_and_see(sharing, assignment("true", image=DEBIAN))[1] == ""
    assert holders() == []
    assert run_and_see(sharing, assignment("true", image=DEBIAN, to_come=pool.MANY))[1] == holders()[0]
    assert run_and_see(sharing, assignment("true"))[1] in holders()
    assert len(holders()) == 2


def test_two_jobs_at_a_time_never_have_the_same_network(
    sharing: DockerExecutor, holders: Callable[[], list[str]]
) -> None:
    until_shared(sharing, holders)
    sandboxes = [sharing.sandbox(assignment(NAMESPACE)) for _ in range(3)]  # one more than networks
    spaces: list[str] = []

    def go(index: int) -> None:
        sandbox = sandboxes[index]
        sandbox.prepare(None)
        sandbox.hold()
        everybody.wait(60)
        sandbox.release(Dependencies())
        log = bytearray()
        sandbox.follow_log(0, log.extend)
        spaces.append(log.decode().splitlines()[-1])
        sandbox.wait()
        sandbox.remove()

    everybody = threading.Barrier(len(sandboxes))
    threads = [threading.Thread(target=go, args=(index,)) for index in range(len(sandboxes))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(set(spaces)) == len(sandboxes)


ENDLESS = "head -c 100000000 /dev/zero | tr '\\0' x >/etc/hosts"


DEEDS = [
    "echo 203.0.113.7 deb.example >>/etc/hosts",
    "echo nameserver 203.0.113.7 >/etc/resolv.conf",
    "chmod 666 /etc/resolv.conf",
    "chown 1000 /etc/hosts",
    "echo else >/etc/hostname",
    ENDLESS,
]


@pytest.mark.parametrize("image", [BUSYBOX, DEBIAN])
def test_who_changes_the_files_that_are_shared_is_the_last_one_in_the_network(
    sharing: DockerExecutor, holders: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch, image: str
) -> None:
    for deed in DEEDS:
        if deed is ENDLESS:
            monkeypatch.setattr(pause_container, "ANSWER_SECONDS", 1.0)  # reading all of it would take a minute
        look = "cat /etc/hosts /etc/resolv.conf"  # which the job before has changed, elsewhere
        ran, network = run_and_see(sharing, assignment(look, deed, image=image, to_come=pool.MANY))
        assert (ran.outcome.exit_code, bool(network)) == (0, True), f"{deed}: {ran.log}"
        assert "203.0.113.7" not in ran.log.partition("$ " + deed)[0], deed
        assert network not in holders(), deed


TIME_WAIT = """
httpd -p 127.0.0.1:8099 -h /etc
until wget -qO- http://127.0.0.1:8099/hostname; do sleep 0.05; done
grep -c ' 06 ' /proc/net/tcp
"""


def test_a_network_with_connections_that_are_not_over_rests(
    sharing: DockerExecutor, holders: Callable[[], list[str]]
) -> None:
    first = until_shared(sharing, holders)
    ran, network = run_and_see(sharing, assignment(TIME_WAIT))
    assert (ran.outcome.exit_code, network) == (0, first), ran.log
    assert holders() == [first]
    ran, network = run_and_see(sharing, assignment("cat /proc/net/tcp"))
    assert network != first
    assert len(ran.log.strip().splitlines()) == 2  # the command and the titles


@pytest.mark.long
def test_a_network_that_has_rested_is_used_again(
    sharing: DockerExecutor, holders: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = until_shared(sharing, holders)
    monkeypatch.setattr(pool, "FEW", 1000)  # so that no other one is made
    assert run_and_see(sharing, assignment(TIME_WAIT))[1] == first
    assert run_and_see(sharing, assignment("true"))[1] == ""
    time.sleep(pool.REST_SECONDS + 1)
    assert run_and_see(sharing, assignment("true"))[1] == first


def test_a_network_whose_connections_do_not_end_goes(
    sharing: DockerExecutor, holders: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "REST_SECONDS", 0.2)
    first = until_shared(sharing, holders)
    assert run_and_see(sharing, assignment(TIME_WAIT))[1] == first
    eventually(lambda: first not in holders())


def test_a_network_that_nobody_uses_goes(
    sharing: DockerExecutor, holders: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    until_shared(sharing, holders)
    with monkeypatch.context() as soon:
        soon.setattr(pool, "KEEP_SECONDS", 0.3)
        last = sharing.sandbox(assignment("true"))
        last.prepare(None)
        last.remove()
        eventually(lambda: not holders())
    until_shared(sharing, holders)


def test_the_daemon_s_end_removes_what_nobody_uses(sharing: DockerExecutor, holders: Callable[[], list[str]]) -> None:
    until_shared(sharing, holders)
    sharing.close()
    assert holders() == []
    assert run_and_see(sharing, assignment("true"))[1] == ""


def test_images_do_not_share_networks_and_make_room_for_each_other(
    sharing: DockerExecutor, holders: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "EVICT_SECONDS", 0.0)
    found = [until_shared(sharing, holders, image) for image in (BUSYBOX, DEBIAN, LISTENING)]
    assert len(set(found)) == 3
    eventually(lambda: len(holders()) <= 2)
    assert found[2] in holders()


def test_an_image_s_own_user_entrypoint_volumes_and_ports_do_not_matter(
    sharing: DockerExecutor,
    holders: Callable[[], list[str]],
    docker_client: docker.DockerClient,
) -> None:
    volumes: set[str] = set()
    for image in (ENTRYPOINT, VOLUME, LISTENING):
        name = until_shared(sharing, holders, image)
        job = assignment("true", image=image)
        prepared = sharing.sandbox(job)
        prepared.prepare(None)
        for container in container_name(job), name:
            volumes |= {mount["Name"] for mount in docker_client.containers.get(container).attrs["Mounts"]}
        prepared.remove()
        ran, network = run_and_see(sharing, assignment("id -u; wget -qO- http://127.0.0.1:1 || true", image=image))
        assert (ran.outcome.exit_code, network) == (0, name), ran.log
    sharing.close()
    assert volumes
    assert not volumes & {one.name for one in docker_client.volumes.list()}


def test_a_job_has_the_same_way_out_in_a_network_that_is_used_again(
    sharing: DockerExecutor, holders: Callable[[], list[str]]
) -> None:
    seen = assignment("ip route | sed 's/src .*//'; cat /etc/resolv.conf; ls /sys/class/net; wc -l </etc/hosts")
    own, _ = run_and_see(sharing, seen)
    until_shared(sharing, holders)
    shared, network = run_and_see(sharing, assignment(*seen.job.script))
    assert network
    assert shared.lines == own.lines


def test_a_holder_can_do_nothing(
    sharing: DockerExecutor, holders: Callable[[], list[str]], docker_client: docker.DockerClient
) -> None:
    holder = docker_client.containers.get(until_shared(sharing, holders))
    host = holder.attrs["HostConfig"]
    assert (host["CapDrop"], host["ReadonlyRootfs"]) == (["ALL"], True)
    assert host["SecurityOpt"] == ["no-new-privileges"]
    status = holder.exec_run(["sh", "-c", "grep CapEff /proc/1/status"]).output
    assert status.split()[1] == b"0000000000000000"


@pytest.mark.parametrize("allowed", [["privileged"], ["volume:/kept"]])
def test_where_jobs_may_leave_their_containers_each_has_its_own_network(
    tmp_path: Path, docker_client: docker.DockerClient, holders: Callable[[], list[str]], allowed: list[str]
) -> None:
    policy = make_policy(WORKER, allowed, [], 4096)
    free = DockerExecutor(WORKER, coordinator=WORKER, directory=tmp_path / "cache", networks=2, policy=policy)
    for _ in range(3):
        job = assignment("true")
        sandbox = free.sandbox(job)
        sandbox.prepare(None)  # this machine may not be able to start it
        assert docker_client.containers.get(container_name(job)).attrs["HostConfig"]["NetworkMode"] == "bridge"
        sandbox.remove()
    assert holders() == []


def test_a_job_with_services_has_its_own_network(sharing: DockerExecutor, holders: Callable[[], list[str]]) -> None:
    until_shared(sharing, holders)
    job = assignment("true", services=[ServiceSpec(name=BUSYBOX, command=["sleep", "60"])])
    assert run_and_see(sharing, job)[1] == ""


def test_an_image_without_ls_is_fit_and_one_without_a_shell_is_not(
    sharing: DockerExecutor,
    holders: Callable[[], list[str]],
    docker_client: docker.DockerClient,
) -> None:
    build(docker_client, "longshore-tests/no-ls:1", f"FROM {BUSYBOX}\nRUN rm /bin/ls\n")
    first = until_shared(sharing, holders, "longshore-tests/no-ls:1")
    assert run_and_see(sharing, assignment("echo x >>/etc/hosts", image="longshore-tests/no-ls:1"))[1] == first
    assert first not in holders()
    build(docker_client, "longshore-tests/no-sh:1", f"FROM {BUSYBOX}\nRUN rm /bin/sh\n")
    for _ in range(3):
        with pytest.raises(JobFailed, match="needs a shell"):
            run_job(sharing, assignment("true", image="longshore-tests/no-sh:1"))
    eventually(lambda: not any(name != first for name in holders()))


def build(client: docker.DockerClient, image: str, dockerfile: str) -> None:
    """Builds an image unless it is there."""
    if not client.images.list(image):
        client.images.build(fileobj=io.BytesIO(dockerfile.encode()), tag=image, rm=True)


def test_a_holder_that_was_killed_is_not_joined_and_one_that_ended_meanwhile_is_started_again(
    sharing: DockerExecutor, holders: Callable[[], list[str]], docker_client: docker.DockerClient
) -> None:
    first = until_shared(sharing, holders)
    docker_client.containers.get(first).kill()
    ran, network = run_and_see(sharing, assignment("true"))
    assert (ran.outcome.exit_code, network) == (0, "")
    assert first not in holders()

    second = until_shared(sharing, holders)
    sandbox = sharing.sandbox(assignment("ip route | grep -c default"))
    sandbox.prepare(None)
    docker_client.containers.get(second).kill()
    sandbox.release(Dependencies())
    log = bytearray()
    sandbox.follow_log(0, log.extend)
    assert (sandbox.wait().exit_code, log.decode().splitlines()[-1]) == (0, "1")
    sandbox.remove()
    assert second not in holders()


def test_a_job_whose_holder_was_removed_fails_with_that(
    sharing: DockerExecutor, holders: Callable[[], list[str]], docker_client: docker.DockerClient
) -> None:
    first = until_shared(sharing, holders)
    sandbox = sharing.sandbox(assignment("true"))
    sandbox.prepare(None)
    docker_client.containers.get(first).remove(force=True)
    with pytest.raises(JobFailed, match="No such container"):
        sandbox.release(Dependencies())
    sandbox.remove()


def another_life(tmp_path: Path) -> DockerExecutor:
    """The executor of the next daemon of this name."""
    return DockerExecutor(WORKER, coordinator=WORKER, directory=tmp_path / "cache", networks=2)


def test_the_next_daemon_removes_a_network_with_the_job_that_has_it_and_the_others_at_once(
    sharing: DockerExecutor,
    holders: Callable[[], list[str]],
    tmp_path: Path,
) -> None:
    first = until_shared(sharing, holders)
    job = assignment("ip route | grep -c default")
    held = sharing.sandbox(job)
    held.prepare(None)
    held.hold()
    eventually(lambda: len(holders()) == 2 or not run_job(sharing, assignment("true")))

    following = another_life(tmp_path)
    following.sweep({job.attempt})
    assert holders() == [first]
    adopted = following.sandbox(job)
    adopted.release(Dependencies())
    log = bytearray()
    adopted.follow_log(0, log.extend)
    assert (adopted.wait().exit_code, log.decode().splitlines()[-1]) == (0, "1")
    adopted.remove()
    assert holders() == []


@pytest.mark.parametrize("way", ["discard", "sweep"])
def test_a_network_goes_back_when_its_job_is_removed_by_its_labels(
    sharing: DockerExecutor, holders: Callable[[], list[str]], way: str
) -> None:
    first = until_shared(sharing, holders)
    job = assignment("true")
    sharing.sandbox(job).prepare(None)
    if way == "discard":
        sharing.discard(job.attempt)
    else:
        sharing.sweep(set())
    assert run_and_see(sharing, assignment("true"))[1] == first


def test_a_network_that_went_on_to_another_job_is_not_freed_by_the_first_one_again(
    sharing: DockerExecutor, holders: Callable[[], list[str]]
) -> None:
    first = until_shared(sharing, holders)
    gone, here = sharing.sandbox(assignment("true")), assignment(NAMESPACE)
    gone.prepare(None)
    gone.remove()
    sandbox = sharing.sandbox(here)
    sandbox.prepare(None)
    gone.remove()
    assert run_and_see(sharing, assignment("true"))[1] != first
    sandbox.remove()


ADDRESS = "hostname -i; hostname; echo $HOSTNAME; cat /etc/hostname"


def test_a_job_s_host_name_is_like_a_container_s_id_and_leads_to_itself_in_any_network(
    sharing: DockerExecutor, holders: Callable[[], list[str]]
) -> None:
    alone, network = run_and_see(sharing, assignment(ADDRESS))
    assert network == ""
    until_shared(sharing, holders)
    shared, network = run_and_see(sharing, assignment(ADDRESS))
    assert network in holders()
    for ran in alone, shared:
        address, *names = ran.lines[-4:]
        assert re.fullmatch(r"[0-9a-f]{12}", names[0])
        assert set(names) == {names[0]}
        assert address.startswith("172.") or address.count(".") == 3


@pytest.mark.parametrize("adopted", [False, True])
def test_a_job_that_fails_after_somebody_ended_its_network_failed_for_the_system(
    sharing: DockerExecutor,
    holders: Callable[[], list[str]],
    docker_client: docker.DockerClient,
    tmp_path: Path,
    adopted: bool,
) -> None:
    deeds: tuple[Callable[[Container], object], ...] = (
        Container.kill,
        lambda one: one.remove(force=True),
        lambda one: one.stop(timeout=0),
    )
    for deed in deeds:
        executor = another_life(tmp_path)
        first = until_shared(executor, holders)
        job = assignment("until [ -e /tmp/go ]; do sleep 0.05; done", "exit 7")
        sandbox = executor.sandbox(job)
        sandbox.prepare(None)
        sandbox.release(Dependencies())
        if adopted:
            sandbox = another_life(tmp_path).sandbox(job)
        deed(docker_client.containers.get(first))
        docker_client.containers.get(container_name(job)).exec_run(["touch", "/tmp/go"])
        log = bytearray()
        sandbox.follow_log(0, log.extend)
        outcome = sandbox.wait()
        assert outcome.exit_code == 7
        assert first in outcome.failure
        sandbox.remove()
        executor.close()
    assert run_and_see(sharing, assignment("true"))[0].outcome.exit_code == 0


@pytest.mark.parametrize("deed", [Container.pause, lambda one: one.rename(f"{one.name}-renamed")])
def test_a_job_whose_network_s_container_is_paused_or_renamed_goes_on(
    sharing: DockerExecutor,
    holders: Callable[[], list[str]],
    docker_client: docker.DockerClient,
    monkeypatch: pytest.MonkeyPatch,
    deed: Callable[[Container], object],
) -> None:
    first = until_shared(sharing, holders)
    deed(docker_client.containers.get(first))
    if deed is Container.pause:
        monkeypatch.setattr(pause_container, "ANSWER_SECONDS", 1.0)  # which it never does
    for _ in range(2):
        assert run_and_see(sharing, assignment("exit 7"))[0].outcome == Outcome(7, ran_for=ANY)
    sharing.close()
    eventually(lambda: holders() == [])


def test_a_renamed_holder_is_not_swept_away_from_under_its_job(
    sharing: DockerExecutor, holders: Callable[[], list[str]], docker_client: docker.DockerClient
) -> None:
    first = until_shared(sharing, holders)
    job = assignment("ip route | grep -c default")
    sandbox = sharing.sandbox(job)
    sandbox.prepare(None)
    docker_client.containers.get(first).rename(f"{first}-renamed")
    sharing.sweep({job.attempt})
    assert holders() == [f"{first}-renamed"]
    sandbox.release(Dependencies())
    log = bytearray()
    sandbox.follow_log(0, log.extend)
    assert (sandbox.wait().exit_code, log.decode().splitlines()[-1]) == (0, "1")
    sandbox.remove()
