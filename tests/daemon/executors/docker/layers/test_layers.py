"""Layers: filled once, used only when complete, made again when they vanish, bounded, gone at the end."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import docker
import pytest

from daemon.executors.base import Dependencies, JobFailed, Layer
from daemon.executors.docker.api_client import DockerClient
from daemon.executors.docker.executor import DockerExecutor
from daemon.executors.docker.inventory import clean, find_begun, inventory, judge
from protocol.plan import ServiceSpec
from tests.conftest import ROOT
from tests.daemon.executors.docker.layers.conftest import Volumes
from tests.daemon.executors.docker.odd_engine import OddEngine
from tests.support.docker_jobs import WORKER, container_name, run_job
from tests.support.eventually import eventually
from tests.support.images import BUSYBOX
from tests.support.layers import Layered
from tests.support.plans import assignment

CAT = "cat file"


@pytest.fixture
def layered(tmp_path: Path) -> Layered:
    return Layered(tmp_path, [{"file": "content\n"}])


def other(tmp_path: Path, number: int) -> Layered:
    """Another snapshot, of a megabyte."""
    return Layered(tmp_path, [{"file": f"{number}\n", "ballast": "x" * (1 << 20)}])


class Counted(Layered):
    """Counts how often its layer is asked for."""

    filled: list[float] = []  # noqa: RUF012  # shared on purpose

    def layers(self, owner: tuple[int, int], *, opened: bool) -> Sequence[Layer]:
        """See Checkout."""
        (layer,) = super().layers(owner, opened=opened)

        def archive() -> Iterator[bytes]:
            Counted.filled.append(time.monotonic())
            yield from layer.archive()

        return [Layer(layer.key, layer.size, archive)]


def test_jobs_that_need_the_same_layer_at_once_fill_it_once(
    executor: DockerExecutor, tmp_path: Path, volumes: Volumes
) -> None:
    Counted.filled.clear()
    counted = Counted(tmp_path, [{"file": "content\n"}])
    logs: list[list[str]] = []
    threads = [
        threading.Thread(target=lambda: logs.append(run_job(executor, assignment(CAT), workspace=counted).lines[1:]))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert logs == [["content"]] * 4
    assert len(Counted.filled) == len(volumes(True)) == 1


def test_a_layer_serves_the_next_daemon_of_the_worker(
    executor: DockerExecutor, tmp_path: Path, volumes: Volumes, layered: Layered
) -> None:
    run_job(executor, assignment(CAT), workspace=layered)
    before = volumes(True)
    eventually(volumes, so=lambda left: left == before)
    again = DockerExecutor(WORKER, coordinator=WORKER, directory=tmp_path / "cache")
    assert again.sweep(set()) == 0
    assert run_job(again, assignment(CAT), workspace=layered).lines[1:] == ["content"]
    assert volumes(True) == before


def test_a_layer_of_before_a_reboot_is_filled_again(
    executor: DockerExecutor, volumes: Volumes, layered: Layered, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_job(executor, assignment(CAT), workspace=layered)
    before = volumes(True)
    monkeypatch.setattr("daemon.executors.docker.layers.store.boot", lambda: "another boot")
    assert run_job(executor, assignment(CAT), workspace=layered).lines[1:] == ["content"]
    assert len(volumes(True)) == 2
    executor.sweep(set())
    assert set(volumes(True)).isdisjoint(before)


def test_a_vanished_layer_is_filled_again(
    executor: DockerExecutor, volumes: Volumes, layered: Layered, docker_client: docker.DockerClient
) -> None:
    run_job(executor, assignment(CAT), workspace=layered)
    (volume,) = volumes(True)
    eventually(volumes, so=lambda left: left == [volume])
    docker_client.volumes.get(volume).remove()
    assert run_job(executor, assignment(CAT), workspace=layered).lines[1:] == ["content"]
    assert volumes(True) != [volume]


@pytest.mark.parametrize("what", ["layer", "upper", "prune"])
def test_a_job_whose_files_are_removed_by_others_fails_with_that_reason(
    executor: DockerExecutor, volumes: Volumes, layered: Layered, docker_client: docker.DockerClient, what: str
) -> None:
    job = assignment("echo begun; until read line </builds/told; do sleep 0.05; done")
    sandbox = executor.sandbox(job)
    sandbox.prepare(layered)
    sandbox.release(Dependencies())
    (volume,) = [name for name in volumes() if ("upper" if what == "prune" else what) in name]
    if what == "prune":
        ours = f"longshore.attempt={job.attempt}"
        spared = docker_client.api.prune_volumes({"label": [ours], "label!": ["longshore.coordinator"]})
        assert not spared["VolumesDeleted"]  # as the message advises
        assert volume in docker_client.api.prune_volumes({"label": [ours]})["VolumesDeleted"]
    else:
        docker_client.volumes.get(volume).remove()
    container = docker_client.containers.get(container_name(job))
    eventually(lambda: b"begun" in container.logs())
    assert container.exec_run(["sh", "-c", "echo >/builds/told"]).exit_code == 0
    log = bytearray()
    sandbox.follow_log(0, log.extend)
    failure = sandbox.wait().failure
    assert f"the volume {volume} is gone" in failure
    assert "unless with --filter label!=longshore.coordinator" in failure
    sandbox.remove()


def test_a_layer_that_was_half_made_when_its_worker_was_killed_is_never_used(
    tmp_path: Path, volumes: Volumes, docker_client: docker.DockerClient, leftovers: Callable[[], list[str]]
) -> None:
    command = [sys.executable, "-m", "tests.daemon.executors.docker.layers.filling"]
    arguments = [WORKER, str(tmp_path), str(tmp_path / "cache")]
    with subprocess.Popen([*command, *arguments], cwd=ROOT, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"half\n"
        process.kill()
    (half,) = volumes(True)
    stack = [{f"file.{number}": f"{number}\n" * 100 for number in range(200)}]
    executor = DockerExecutor(WORKER, coordinator=WORKER, directory=tmp_path / "cache")
    ran = run_job(executor, assignment("cat file.* | wc -l"), workspace=Layered(tmp_path, stack))
    assert ran.lines[1:] == ["20000"]
    executor.sweep(set())
    assert half not in volumes(True)
    eventually(leftovers, so=lambda left: left == volumes(True))


def test_an_archive_that_fails_leaves_no_layer(executor: DockerExecutor, tmp_path: Path, volumes: Volumes) -> None:
    class Failing(Layered):
        def layers(self, owner: tuple[int, int], *, opened: bool) -> Sequence[Layer]:
            def archive() -> Iterator[bytes]:
                yield bytes(100)
                raise OSError("its disk is broken")

            return [Layer("failing", 100, archive)]

    with pytest.raises(JobFailed, match="its disk is broken"):
        run_job(executor, assignment("true"), workspace=Failing(tmp_path, [{}]))
    assert volumes() == []


@pytest.mark.parametrize("refused", ["creation", "mount"])
def test_an_engine_that_refuses_overlays_gets_copies_and_is_asked_once(
    behind: DockerExecutor, odd: OddEngine, tmp_path: Path, layered: Layered, volumes: Volumes, refused: str
) -> None:
    if refused == "creation":
        rule = odd.answer("POST /volumes/create", 400, {"message": "type overlay is not allowed"}, having=b"lowerdir=")
    else:
        rule = odd.answer("HEAD /containers/[0-9a-f]*/archive", 500, {"message": "failed to mount"}, times=1)
    assert behind.facts().endswith("project directories: copy-on-write")
    ran = run_job(behind, assignment(CAT), workspace=layered)
    assert ran.lines[1:] == ["content"]
    assert volumes() == []
    asked = rule.asked
    assert asked == 1
    again = DockerExecutor(WORKER, odd.url, coordinator=WORKER, directory=tmp_path / "cache")
    for executor in (behind, again):
        assert executor.facts().endswith("project directories: copied")
        assert run_job(executor, assignment(CAT), workspace=layered).lines[1:] == ["content"]
    assert rule.asked == asked


@pytest.mark.parametrize("option", ["name=rootless", "name=userns"])
def test_an_engine_that_changes_owners_gets_copies(
    behind: DockerExecutor, odd: OddEngine, layered: Layered, volumes: Volumes, option: str
) -> None:
    odd.answer("GET /info", 200, {"ID": "x", "SecurityOptions": ["name=seccomp,profile=default", option]})
    assert behind.facts().endswith("project directories: copied")
    assert run_job(behind, assignment(CAT), workspace=layered).lines[1:] == ["content"]
    assert volumes() == []


def test_two_workers_of_one_engine_keep_out_of_each_other_s_layers(
    executor: DockerExecutor, tmp_path: Path, volumes: Volumes, layered: Layered
) -> None:
    second = DockerExecutor(f"{WORKER}-2", coordinator=WORKER, directory=tmp_path / "cache")
    for one in (executor, second):
        assert run_job(one, assignment(CAT), workspace=layered).lines[1:] == ["content"]
    assert len(volumes(True)) == 2
    eventually(lambda: volumes(False), so=lambda left: not left)
    assert executor.sweep(set()) == second.sweep(set()) == 0
    assert len(volumes(True)) == 2


def test_layers_above_the_limit_are_evicted_the_least_recently_used_first(tmp_path: Path, volumes: Volumes) -> None:
    executor = DockerExecutor(WORKER, coordinator=WORKER, directory=tmp_path / "cache", cache_limit=5 << 19)
    run_job(executor, assignment(CAT), workspace=other(tmp_path, 1))
    (first,) = volumes(True)
    run_job(executor, assignment(CAT), workspace=other(tmp_path, 2))
    (second,) = set(volumes(True)) - {first}
    run_job(executor, assignment(CAT), workspace=other(tmp_path, 1))
    run_job(executor, assignment(CAT), workspace=other(tmp_path, 3))
    eventually(lambda: volumes(True), so=lambda left: second not in left)
    assert len(volumes(True)) == 2
    assert first in volumes(True)


def test_a_layer_that_a_container_uses_is_not_evicted(tmp_path: Path, volumes: Volumes, layered: Layered) -> None:
    directory = tmp_path / "cache"
    executor = DockerExecutor(WORKER, coordinator=WORKER, directory=directory, cache_limit=1, keep_caches=0)
    job = assignment(CAT)
    sandbox = executor.sandbox(job)
    sandbox.prepare(layered)
    (layer,) = volumes(True)
    run_job(executor, assignment(CAT), workspace=other(tmp_path, 1))
    executor.sweep({job.attempt})
    assert volumes(True) == [layer]
    next_daemon = DockerExecutor(WORKER, coordinator=WORKER, directory=directory, cache_limit=1, keep_caches=0)
    next_daemon.sweep({job.attempt})
    assert volumes(True) == [layer]
    sandbox.release(Dependencies())
    assert sandbox.wait().exit_code == 0
    sandbox.remove()
    executor.sweep(set())
    assert volumes(True) == []


def test_layers_that_nobody_uses_for_long_are_removed(tmp_path: Path, volumes: Volumes, layered: Layered) -> None:
    executor = DockerExecutor(WORKER, coordinator=WORKER, directory=tmp_path / "cache", keep_caches=3600)
    run_job(executor, assignment(CAT), workspace=layered)
    executor.sweep(set())
    assert len(volumes(True)) == 1
    for note in (tmp_path / "cache" / "layers").glob("*/*.json"):
        os.utime(note, (time.time() - 4000, time.time() - 4000))
    executor.sweep(set())
    assert volumes(True) == []


def test_another_daemon_takes_a_job_with_a_view_over_and_removes_all_of_it(
    executor: DockerExecutor, tmp_path: Path, volumes: Volumes, layered: Layered, leftovers: Callable[[], list[str]]
) -> None:
    service = ServiceSpec(name=BUSYBOX, command=["sleep", "60"])
    job = assignment(CAT, "sleep 1; echo more >>file; cat file", services=[service])
    first = executor.sandbox(job)
    first.prepare(layered)
    first.release(Dependencies())
    again = DockerExecutor(WORKER, coordinator=WORKER, directory=tmp_path / "cache")
    assert [one.attempt for one in again.find()] == [job.attempt]
    sandbox = again.sandbox(job)
    log = bytearray()
    sandbox.follow_log(0, log.extend)
    assert (sandbox.wait().exit_code, log.decode().splitlines()[-2:]) == (0, ["content", "more"])
    sandbox.remove()
    eventually(leftovers, so=lambda left: left == volumes(True))


def test_a_daemon_that_prepares_a_job_again_uses_the_same_view(
    tmp_path: Path, layered: Layered, leftovers: Callable[[], list[str]], volumes: Volumes
) -> None:
    job = assignment(CAT)
    first, again = (
        DockerExecutor(WORKER, coordinator=WORKER, directory=tmp_path / "cache", networks=1) for _ in range(2)
    )
    first.sandbox(job).prepare(layered)
    again.find()
    assert run_job(again, job, workspace=layered).lines[1:] == ["content"]
    eventually(leftovers, so=lambda left: left == volumes(True))


def test_a_view_of_other_layers_is_replaced(
    executor: DockerExecutor, tmp_path: Path, layered: Layered, leftovers: Callable[[], list[str]], volumes: Volumes
) -> None:
    job = assignment(CAT)
    executor.sandbox(job).prepare(other(tmp_path, 1))
    assert run_job(executor, job, workspace=layered).lines[1:] == ["content"]
    eventually(leftovers, so=lambda left: left == volumes(True))


def test_a_removal_waits_for_no_volume(
    behind: DockerExecutor, odd: OddEngine, tmp_path: Path, layered: Layered, volumes: Volumes
) -> None:
    deaf = odd.deafen(r"DELETE /volumes/.*\.1-(project|upper|work)$")
    ran = run_job(behind, assignment(CAT), workspace=layered)
    assert ran.lines[1:] == ["content"]
    eventually(lambda: deaf.asked, so=lambda asked: asked == 3)
    deaf.times = 0
    assert behind.sweep(set()) == 3


def test_a_view_goes_after_the_container_whose_removal_was_in_progress(
    behind: DockerExecutor, odd: OddEngine, layered: Layered, volumes: Volumes, docker_client: docker.DockerClient
) -> None:
    job = assignment("true")
    behind.sandbox(job).prepare(layered)
    container = docker_client.containers.get(container_name(job))
    there = {"Id": container.id, "Names": [f"/{container.name}"], "Labels": container.labels, "State": "removing"}
    going = odd.answer("GET /containers/json", 200, [there])
    assert behind.sweep(set()) == 0
    eventually(lambda: going.asked, so=lambda asked: asked > 2)
    assert len(volumes(False)) == 3
    container.remove(force=True)
    going.times = 0
    eventually(lambda: volumes(False), so=lambda left: not left)


def test_doctor_cleans_the_layers_of_a_worker_that_is_gone_and_keeps_those_of_others(
    tmp_path: Path, volumes: Volumes, layered: Layered
) -> None:
    lock = tmp_path / "worker.lock"
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        executor = DockerExecutor(WORKER, coordinator=WORKER, lock=lock, directory=tmp_path / "cache")
        job = assignment(CAT)
        run_job(executor, job, workspace=layered)
        executor.sandbox(assignment(CAT)).prepare(other(tmp_path, 1))
        eventually(lambda: volumes(False), so=lambda left: len(left) == 3)
        assert _cleaned(force=True) == []
    assert len(_cleaned(force=False)) == 1  # the layer that no container uses
    assert len(volumes(True)) == 1
    _cleaned(force=True)
    assert volumes() == []


def _cleaned(*, force: bool) -> list[str]:
    """What `longshore doctor --clean` removes of this test's."""
    engine = DockerClient()
    things = [thing for thing in inventory(engine) if thing.labels["longshore.coordinator"] == WORKER]
    gone, problems = clean(engine, judge(things, {}, find_begun(engine, things), local=True), force=force)
    assert problems == []
    return [one.thing.name for one in gone]
