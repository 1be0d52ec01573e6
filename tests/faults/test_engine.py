"""What becomes of jobs whose Docker engine is restarted, stopped or full: the right reason, within a bound."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from tests.conftest import Images
from tests.faults.fleet import Fleet
from tests.faults.private_engine import NoEngine, PrivateEngine, private_engine
from tests.support.eventually import eventually
from tests.support.system import jobs_of, repository, running, statuses

COUNTING = """
default: {image: longshore/busybox:test}
count:
  script: ['i=0; while [ $i -lt 80 ]; do echo "line $i"; i=$((i+1)); sleep 0.1; done']
after: {needs: [count], script: [echo after]}
"""


def engine_of(folder: Path, images: Images, **options: Any) -> Iterator[PrivateEngine]:
    """A private engine with the test image. It lives at a short path: a socket's may have 100 characters."""
    try:
        with private_engine(folder, **options) as engine:
            engine.load(images.busybox)
            yield engine
    except NoEngine as error:
        pytest.skip(str(error))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def engine(images: Images) -> Iterator[PrivateEngine]:
    yield from engine_of(Path(f"/tmp/longshore-engine-{os.getpid()}"), images)


@pytest.fixture
def enduring(images: Images) -> Iterator[PrivateEngine]:
    """An engine whose containers live on without it (`live-restore`)."""
    yield from engine_of(Path(f"/tmp/longshore-engine-{os.getpid()}"), images, live_restore=True)


def begun(fleet: Fleet, engine: PrivateEngine, tmp_path: Path, text: str = COUNTING) -> int:
    """A run on that engine whose first job has printed something."""
    fleet.add_worker("w", slots=2, DOCKER_HOST=engine.url)
    fleet.wait_for_workers(1)
    run = fleet.submit(repository(tmp_path / "project", {".gitlab-ci.yml": text}))
    eventually(lambda: "line 3\n" in fleet.logged(run, "count"))
    return run


def nothing_left(engine: PrivateEngine) -> bool:
    """Whether the engine has no container but those that hold networks for jobs to come."""
    client = engine.client()
    try:
        there = client.containers.list(all=True, ignore_removed=True)
        return all(container.labels.get("longshore.role") == "network" for container in there)
    finally:
        client.close()


@pytest.mark.parametrize("number", [pytest.param(signal.SIGTERM, marks=pytest.mark.long), signal.SIGKILL])
def test_an_engine_that_takes_its_containers_with_it_fails_the_job_and_the_next_run_succeeds(
    fleet: Fleet, engine: PrivateEngine, tmp_path: Path, number: int
) -> None:
    run = begun(fleet, engine, tmp_path, COUNTING.replace("80", "250"))
    engine.stop(number)
    engine.start()
    view = fleet.finished(run)
    count = jobs_of(view)["count"]
    assert (count["status"], count["failure_reason"]) == ("failed", "runner_system_failure"), count
    assert statuses(view)["after"] == "skipped"
    again = fleet.submit(repository(tmp_path / "another", {".gitlab-ci.yml": COUNTING.replace("80", "5")}))
    assert fleet.finished(again)["status"] == "success"
    eventually(lambda: nothing_left(engine))


@pytest.mark.long
def test_a_job_survives_an_engine_that_is_upgraded_under_it(
    fleet: Fleet, enduring: PrivateEngine, tmp_path: Path
) -> None:
    run = begun(fleet, enduring, tmp_path)
    enduring.stop()
    enduring.start()
    view = fleet.finished(run)
    assert statuses(view) == {"count": "success", "after": "success"}, view
    lines = [line for line in fleet.log(run, "count").splitlines() if line.startswith("line")]
    assert lines == [f"line {i}" for i in range(80)]


def test_a_container_that_is_killed_from_outside_is_no_failure_of_its_script(
    fleet: Fleet, tmp_path: Path, docker_client: docker.DockerClient
) -> None:
    fleet.add_worker("w", slots=2)
    fleet.wait_for_workers(1)
    run = fleet.submit(repository(tmp_path / "project", {".gitlab-ci.yml": COUNTING}))
    eventually(lambda: "line 3\n" in fleet.logged(run, "count"))
    for container in running(docker_client, fleet.coordinator_id, run):
        if container.labels["longshore.job"] == "count":
            container.kill()
    count = jobs_of(fleet.finished(run))["count"]
    assert (count["status"], count["failure_reason"]) == ("failed", "runner_system_failure")


FULL = """
default: {image: longshore/busybox:test}
count:
  script:
    - 'i=0; while [ $i -lt 4 ]; do echo "line $i"; i=$((i+1)); done; sleep 1'
    - dd if=/dev/zero of=/big bs=1M count=400
"""


def test_an_engine_without_room_fails_jobs_with_its_own_words(fleet: Fleet, images: Images, tmp_path: Path) -> None:
    folder = Path(f"/tmp/longshore-engine-{os.getpid()}")
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("a small file system can only be mounted by root")
    try:
        with private_engine(folder, storage="vfs") as engine:
            engine.load(images.busybox)
            run = begun(fleet, engine, tmp_path, FULL)
            count = jobs_of(fleet.finished(run, within=60))["count"]
            assert count["status"] == "failed", count
            assert count["failure_reason"] in ("script_failure", "runner_system_failure"), count
            if count["failure_reason"] == "script_failure":
                assert "No space left on device" in fleet.log(run, "count")
            eventually(lambda: nothing_left(engine))
            ballast = folder / "ballast"
            with ballast.open("wb") as file:
                try:
                    while True:
                        file.write(bytes(1 << 16))
                        file.flush()
                except OSError:
                    pass
            again = fleet.submit(tmp_path / "project")
            count = jobs_of(fleet.finished(again, within=60))["count"]
            assert (count["status"], count["failure_reason"]) == ("failed", "runner_system_failure"), count
            assert "no space left" in fleet.command("show", str(again), "count").out.lower()
            ballast.unlink()
    except NoEngine as error:
        pytest.skip(str(error))
    finally:
        subprocess.run(["umount", "-l", folder], check=False)
        folder.rmdir()
