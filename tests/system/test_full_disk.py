"""A worker whose disk fills while it works: its jobs say so and go elsewhere; it goes on when there is room again."""

from __future__ import annotations

import os
import select
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from tests.support.eventually import eventually
from tests.support.flaky_link import Cable
from tests.support.images import GIT
from tests.support.system import LONGSHORE, UNTIL_TOLD, System, jobs_of, repository, statuses, tell

PACK_BYTES = 400_000
"""Of a small workspace: its checkout is no layer, which would stay in the engine."""
WAITING_GIT = """#!/bin/sh
case "$*" in *pack-objects*) if [ -e {hold} ]; then mv {hold} {held}; read -r _ <{go}; fi ;; esac
exec {git} "$@"
"""
"""Git that, where there is a file `hold`, renames it to `held` before it packs, and waits until it is told to go on."""
PIPELINE = f"""
default:
  image: {GIT}
  tags: [disk]
  retry: {{max: 1, when: runner_system_failure}}
look:
  script: [git status --porcelain, wc -c <large]
"""
STORING = f"""
default:
  image: {GIT}
  tags: [disk]
  retry: {{max: 1, when: runner_system_failure}}
making:
  script: [head -c 3000000 /dev/urandom >made, {UNTIL_TOLD!r}]
  artifacts: {{paths: [made]}}
keeping:
  script: [head -c 3000000 /dev/urandom >kept, {UNTIL_TOLD!r}]
  cache: {{key: k, paths: [kept]}}
"""


FULL = "No space left on device"


class Disk:
    """A file system of its own with 2 GiB of room."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def fill(self) -> None:
        """Leaves hardly any room."""
        found = os.statvfs(self.place)
        self._resize(f"{(found.f_blocks - found.f_bfree) * found.f_frsize + (128 << 10)}")

    def empty(self) -> None:
        """Makes room again."""
        self._resize("2g")

    def _resize(self, size: str) -> None:
        subprocess.run(["mount", "-o", f"remount,size={size}", self.place], check=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    place = tmp_path / "disk"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2g", "tmpfs", place], capture_output=True).returncode:
        pytest.skip("no right to mount a tmpfs")
    yield Disk(place)
    subprocess.run(["umount", "-l", place], check=True)


class Small:
    """A worker on that disk: its way to the coordinator, and its git, can be held up."""

    def __init__(self, system: System, disk: Disk, folder: Path) -> None:
        assert system.address is not None
        self.cable = Cable(system.address)
        self.hold, self.held, self._go = folder / "hold", folder / "held", folder / "go"
        os.mkfifo(self._go)
        shim = folder / "bin" / "git"
        shim.parent.mkdir()
        shim.write_text(WAITING_GIT.format(hold=self.hold, held=self.held, go=self._go, git=shutil.which("git")))
        shim.chmod(0o755)
        token = system.command("token", "create", "--role", "worker", "--address", self.cable.address).out.strip()
        command = [str(LONGSHORE), "worker", "--join", token, "--name", "small", "--slots", "2", "--label", "disk"]
        own = {"LONGSHORE_STATE": str(disk.place / "state"), "PATH": f"{shim.parent}:{os.environ['PATH']}"}
        system.spawn(command, "small", cwd=folder, environment=own)

    def let_git_go(self) -> None:
        """Git that is held goes on."""
        descriptor = os.open(self._go, os.O_RDWR)
        os.write(descriptor, b"\n")
        eventually(lambda: not select.select([descriptor], [], [], 0)[0])
        os.close(descriptor)


def test_whatever_a_worker_does_when_its_disk_fills_its_jobs_say_so_and_succeed_elsewhere(
    system: System, disk: Disk, tmp_path: Path, docker_client: docker.DockerClient
) -> None:
    system.start_coordinator()
    small = Small(system, disk, tmp_path)
    system.start_worker("roomy", "--slots", "2", "--label", "disk")
    system.wait_for_workers(2)
    project = repository(tmp_path / "project", {".gitlab-ci.yml": PIPELINE})

    def submit() -> int:
        """A run whose first attempts are the small worker's."""
        disk.empty()
        system.command("drain", "roomy")
        (project / "large").write_bytes(os.urandom(PACK_BYTES))
        return system.submit(project)

    def fill() -> None:
        """From now on, there is another worker."""
        disk.fill()
        system.command("drain", "roomy", "--off")

    def fate(run: int, job: str) -> str:
        """What has happened to a job, without times."""
        told = system.command("show", str(run), job, "--why").out
        return "\n".join(line.split(maxsplit=3)[-1].strip() for line in told.splitlines())

    # a pack comes
    small.cable.hold_after(PACK_BYTES // 2)
    run = submit()
    eventually(small.cable.is_holding.is_set)
    fill()
    small.cable.let_go()
    assert statuses(system.finished(run)) == {"look": "success"}
    assert f"the workspace can't be fetched: {FULL}" in fate(run, "look")

    # its checkout is made
    small.hold.touch()
    run = submit()
    eventually(small.held.exists)
    fill()
    small.let_git_go()
    assert statuses(system.finished(run)) == {"look": "success"}
    assert f"the job can't be prepared: {FULL}" in fate(run, "look")

    # an artifact and a cache are stored
    (project / ".gitlab-ci.yml").write_text(STORING)
    run = submit()
    eventually(lambda: all(system.status(run, job) == "running" for job in ("making", "keeping")))
    fill()
    for job in ("making", "keeping"):
        tell(docker_client, system.coordinator_id, run, job)
    eventually(lambda: "assigned to roomy" in fate(run, "making"))
    eventually(lambda: system.status(run, "making") == "running")
    tell(docker_client, system.coordinator_id, run, "making")
    ended = system.finished(run)
    assert statuses(ended) == {"making": "success", "keeping": "success"}
    assert f"the job's files can't be stored: {FULL}" in fate(run, "making")
    assert f"the cache k is not saved: {FULL}" in jobs_of(ended)["keeping"]["message"]

    # there is room again
    (project / ".gitlab-ci.yml").write_text(PIPELINE)
    run = submit()
    assert statuses(system.finished(run)) == {"look": "success"}
    assert "succeeded on small" in fate(run, "look")
    assert system.log(run, "look").splitlines()[-3:] == ["?? large", "$ wc -c <large", f"{PACK_BYTES}"]
    assert list(disk.place.glob("state/worker/cache/checkouts/partial/*")) == []
