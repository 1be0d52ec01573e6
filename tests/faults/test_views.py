"""Views of shared layers on an engine of their own, which fills up or restarts."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from daemon.executors.base import Dependencies, JobFailed
from daemon.executors.docker.executor import DockerExecutor
from tests.conftest import Images
from tests.faults.private_engine import NoEngine, PrivateEngine, private_engine
from tests.support.docker_jobs import WORKER, run_job, tar_of
from tests.support.eventually import eventually
from tests.support.layers import Layered
from tests.support.plans import assignment


@contextmanager
def engine_at(
    folder: Path, images: Images, *, live_restore: bool = False, megabytes: int = 0
) -> Iterator[PrivateEngine]:
    """A private engine with the test image; with `megabytes` on a disk of this size."""
    folder.mkdir()
    try:
        if megabytes:
            mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
            if subprocess.run(mount, capture_output=True).returncode:
                pytest.skip("a small file system can only be mounted by root")
        with private_engine(folder, live_restore=live_restore, storage="vfs" if megabytes else None) as engine:
            engine.load(images.busybox)
            yield engine
    except NoEngine as error:
        pytest.skip(str(error))
    finally:
        if megabytes:
            subprocess.run(["umount", "-l", folder], check=False)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def folder() -> Path:
    """A short path: a socket's may have 100 characters."""
    return Path(f"/tmp/longshore-views-{os.getpid()}")


def test_a_job_and_its_view_survive_an_engine_that_is_upgraded_under_it(
    folder: Path, images: Images, tmp_path: Path
) -> None:
    layered = Layered(tmp_path, [{"file": "content\n", "changed": "base\n"}])
    with engine_at(folder, images, live_restore=True) as engine:
        executor = DockerExecutor(WORKER, engine.url, coordinator=WORKER, directory=tmp_path / "cache")
        job = assignment(
            "echo before >changed; echo begun; until [ -e /told ]; do sleep 0.1; done; cat file changed; echo x >made"
        )
        sandbox = executor.sandbox(job)
        sandbox.prepare(layered)
        sandbox.release(Dependencies())
        engine.stop()
        engine.start()
        client = engine.client()
        (container,) = client.containers.list()
        assert container.exec_run(["touch", "/told"]).exit_code == 0
        log = bytearray()
        sandbox.follow_log(0, log.extend)
        outcome = sandbox.wait()
        assert (outcome.exit_code, outcome.failure) == (0, ""), log
        assert log.decode().splitlines()[-2:] == ["content", "before"]
        sandbox.remove()
        client.close()
        engine.stop()  # until its next restart it believes that the volume of that container is mounted
        engine.start()
        executor.sweep(set())
        client = engine.client()
        eventually(client.volumes.list, so=lambda left: ["-layer-" in one.name for one in left] == [True])
        client.close()


def test_a_held_job_finds_its_view_after_a_restart_of_the_engine(folder: Path, images: Images, tmp_path: Path) -> None:
    layered = Layered(tmp_path, [{"file": "content\n"}])
    with engine_at(folder, images) as engine:
        executor = DockerExecutor(WORKER, engine.url, coordinator=WORKER, directory=tmp_path / "cache")
        sandbox = executor.sandbox(assignment("cat file added"))
        sandbox.prepare(layered)
        sandbox.hold()
        engine.stop()
        engine.start()
        sandbox.release(Dependencies([], [tar_of(tmp_path / "added.tar", {"added": "added\n"})]))
        log = bytearray()
        sandbox.follow_log(0, log.extend)
        assert sandbox.wait().exit_code == 0
        assert log.decode().splitlines()[-2:] == ["content", "added"]
        sandbox.remove()


def test_a_full_disk_makes_unused_layers_go_or_fails_the_job_with_that_reason(
    folder: Path, images: Images, tmp_path: Path
) -> None:
    ballast = "x" * (30 << 20)
    with engine_at(folder, images, megabytes=100) as engine:
        executor = DockerExecutor(WORKER, engine.url, coordinator=WORKER, directory=tmp_path / "cache")
        for number in range(3):
            layered = Layered(tmp_path, [{"file": f"{number}\n", "ballast": ballast}])
            ran = run_job(executor, assignment("cat file; wc -c <ballast"), workspace=layered)
            assert ran.lines[1:] == [str(number), str(len(ballast))]
        larger = Layered(tmp_path, [{"ballast": ballast * 4}])
        with pytest.raises(JobFailed, match="no space left"):
            run_job(executor, assignment("true"), workspace=larger)
        client = engine.client()
        eventually(lambda: executor.sweep(set()) == 0 and client.volumes.list() == [])
        client.close()
