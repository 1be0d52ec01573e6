"""A git workspace on its way from the coordinator's packs to a job."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from threading import Event

import msgspec
import pytest

from daemon.checkouts.git import Processes
from protocol import messages as m
from protocol.statuses import ExecutionStatus as S
from protocol.statuses import FailureReason
from protocol.workspace import GitWorkspace, Manifest, RepositoryManifest
from tests.support.checkouts import listing, unpack
from tests.support.eventually import eventually
from tests.support.fake_coordinator import FakeCoordinator, RunningWorker
from tests.support.fake_executor import FakeEngine
from tests.support.git_workspaces import Client, git
from tests.support.plans import assignment

Start = Callable[..., RunningWorker]


@pytest.fixture
def client(tmp_path: Path) -> Client:
    return Client(tmp_path / "client")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    path = tmp_path / "project"
    git(tmp_path, "init", "-q", str(path))
    (path / "file").write_text("content\n")
    git(path, "add", "file")
    git(path, "commit", "-q", "-m", "first")
    (path / "file").write_text("modified\n")
    return path


def offer(coordinator: FakeCoordinator, client: Client, ref: GitWorkspace) -> None:
    """Stores a workspace's packs at the coordinator."""
    for pack in ref.packs:
        coordinator.blobs[pack.digest] = client.fetch(pack).read_bytes()


def test_a_job_finds_the_repository_and_a_worker_fetches_it_once(
    coordinator: FakeCoordinator, engine: FakeEngine, run_worker: Start, client: Client, project: Path, tmp_path: Path
) -> None:
    ref = client.workspace(project)
    offer(coordinator, client, ref)
    run_worker()
    for attempt in ("1.1", "2.1"):
        coordinator.assign(assignment("true", attempt=attempt, workspace=ref))
        coordinator.status(attempt, S.RUNNING)
        made = unpack([engine.made[attempt].workspace or b""], tmp_path / attempt)
        assert coordinator.final(attempt).status is S.SUCCESS
    assert listing(made) == listing(project)
    assert git(made, "status", "--porcelain") == b" M file\n"
    assert coordinator.count(m.BlobGet) == len(ref.packs)
    cache = tmp_path / "state" / "cache"
    assert not [name for _, _, names in os.walk(cache / "blobs") for name in names]  # the store has them
    eventually(lambda: not [path for path in (cache / "jobs").glob("*/*") if path.is_dir()])


def test_a_workspace_that_lies_fails_the_job_with_the_reason(
    coordinator: FakeCoordinator, run_worker: Start, client: Client
) -> None:
    blob = client.blob(b"../.git/config")
    tree = git(client.own, "mktree", told=f"120000 blob {blob}\tlink\n".encode()).decode().strip()
    ref = client.packed(Manifest(repositories=[RepositoryManifest()]), [tree])
    offer(coordinator, client, ref)
    run_worker()
    coordinator.assign(assignment("noop", attempt="1.1", workspace=ref))
    final = coordinator.final("1.1")
    assert final.failure_reason is FailureReason.RUNNER_SYSTEM_FAILURE
    assert final.message == (
        "the workspace can't be checked out: the symbolic link 'link' leads into a .git directory; remove it"
    )


def test_a_workspace_whose_packs_are_gone_fails_the_job(
    coordinator: FakeCoordinator, run_worker: Start, client: Client, project: Path
) -> None:
    ref = client.workspace(project)
    offer(coordinator, client, msgspec.structs.replace(ref, packs=ref.packs[:1]))
    run_worker()
    coordinator.assign(assignment("noop", attempt="1.1", workspace=ref))
    assert "the workspace can't be fetched" in (coordinator.final("1.1").message or "")


STANDS_STILL = """#!/bin/sh
case "$*" in *{command}*)
    echo $$ >{file}.part
    mv {file}.part {file}
    exec sleep 1000
esac
exec {git} "$@"
"""


@pytest.fixture
def standing_still(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Makes a command of git stand still; returns the file that then has its pid."""

    def stand_still(command: str) -> Path:
        shim, pid_file = tmp_path / "bin" / "git", tmp_path / "pid"
        shim.parent.mkdir()
        shim.write_text(STANDS_STILL.format(command=command, file=pid_file, git=shutil.which("git")))
        shim.chmod(0o755)
        monkeypatch.setenv("PATH", f"{shim.parent}:{os.environ['PATH']}")
        return pid_file

    return stand_still


@pytest.mark.parametrize("command", ["index-pack", "cat-file", "pack-objects"])
def test_a_cancellation_ends_the_git_that_prepares_the_job_at_once(
    coordinator: FakeCoordinator,
    run_worker: Start,
    client: Client,
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
    standing_still: Callable[[str], Path],
    command: str,
) -> None:
    ref = client.workspace(project)
    offer(coordinator, client, ref)
    path = os.environ["PATH"]
    pid_file = standing_still(command)
    run_worker()
    coordinator.assign(assignment("noop", attempt="1.1", workspace=ref))
    eventually(pid_file.exists)
    coordinator.send(m.CancelJob(attempt="1.1"))
    assert coordinator.final("1.1").status is S.CANCELED
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid_file.read_text()), 0)
    monkeypatch.setenv("PATH", path)
    coordinator.assign(assignment("noop", attempt="2.1", workspace=ref))
    assert coordinator.final("2.1").status is S.SUCCESS


@pytest.mark.parametrize("command", ["index-pack", "pack-objects"])
def test_a_cancellation_ends_the_wait_for_what_another_job_makes(
    coordinator: FakeCoordinator,
    run_worker: Start,
    client: Client,
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
    standing_still: Callable[[str], Path],
    command: str,
) -> None:
    ref = client.workspace(project)
    offer(coordinator, client, ref)
    pid_file, waiting = standing_still(command), Event()
    pause = Processes.pause

    def paused(self: Processes) -> None:
        waiting.set()
        pause(self)

    monkeypatch.setattr(Processes, "pause", paused)
    run_worker(slots=2)
    coordinator.assign(assignment("noop", attempt="1.1", workspace=ref))
    eventually(pid_file.exists)
    coordinator.assign(assignment("noop", attempt="2.1", workspace=ref))
    eventually(waiting.is_set)
    coordinator.send(m.CancelJob(attempt="2.1"))
    assert coordinator.final("2.1").status is S.CANCELED
    os.kill(int(pid_file.read_text()), 0)  # the other job's git goes on
    coordinator.send(m.CancelJob(attempt="1.1"))
    assert coordinator.final("1.1").status is S.CANCELED
