"""A workspace is made once, uploaded to a real coordinator, and goes on where it was interrupted."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from cli.submit.workspace.maker import GitWorkspaceMaker
from pipeline import Repository
from protocol.client import Client
from protocol.names import CHUNK_BYTES
from protocol.workspace import GitWorkspace
from snapshots.processes import Abandoned
from snapshots.store import PRUNE_SECONDS, UNUSED_SECONDS, cache_home
from tests.support.coordinator_process import Running
from tests.support.eventually import DEADLINE, eventually
from tests.support.project import Project
from tests.support.received_workspaces import make, plan_of

LARGE = 6 * CHUNK_BYTES


class Interrupted(BaseException):
    """A signal of the user's."""


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    """A client of a real coordinator."""
    with Running(tmp_path / "state") as running, Client(running.address, timeout=DEADLINE) as made:
        yield made


def run(root: Path, client: Client) -> GitWorkspace:
    """Uploads and submits a project's workspace, as one run does."""
    with closing(GitWorkspaceMaker(Repository(root))) as maker:
        workspace = maker.upload(plan_of(), client)
        client.submit_run(plan_of(), workspace)
        maker.submitted()
    return workspace


def stored(tmp_path: Path) -> dict[str, Path]:
    """The coordinator's blobs by digest."""
    return {path.name: path for path in (tmp_path / "state").rglob("*") if path.is_file() and len(path.name) == 64}


def test_a_second_run_builds_on_the_first(repository: Project, client: Client, tmp_path: Path) -> None:
    first = run(repository.root, client)
    assert set(stored(tmp_path)) == {pack.digest for pack in first.packs}
    assert run(repository.root, client) == first
    repository.write("a", "changed\n")
    second = run(repository.root, client)
    assert second.packs[:1] == first.packs[:1]
    assert set(stored(tmp_path)) == {pack.digest for pack in (*first.packs, *second.packs)}
    assert not list(cache_home().glob("*/sent/*"))


def test_packs_that_the_coordinator_removes_meanwhile_are_made_again(
    repository: Project, client: Client, tmp_path: Path
) -> None:
    first = run(repository.root, client)
    repository.write("a", "changed\n")
    with closing(GitWorkspaceMaker(Repository(repository.root))) as maker:
        assert maker.upload(plan_of(), client).packs[0] == first.packs[0]
        stored(tmp_path)[first.packs[0].digest].unlink()
        workspace = maker.upload(plan_of(), client)
        client.submit_run(plan_of(), workspace)
    assert {pack.digest for pack in workspace.packs} <= set(stored(tmp_path))


def test_two_runs_of_one_snapshot_at_once_share_its_packs(repository: Project, client: Client, tmp_path: Path) -> None:
    with closing(GitWorkspaceMaker(Repository(repository.root))) as maker:
        maker.made = first = maker.make(plan_of(), [])
        assert run(repository.root, client) == first.workspace
        assert not any(path.exists() for path in first.files.values())
        workspace = maker.upload(plan_of(), client)
        client.submit_run(plan_of(), workspace)
    assert workspace == first.workspace


def test_an_interrupted_upload_resumes_in_the_next_run(
    repository: Project, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    (repository.root / "large").write_bytes(os.urandom(LARGE))
    sent: list[int] = []
    real = client._send

    def send(frames: list[bytes | memoryview], deadline: float) -> bool:
        size = sum(len(frame) for frame in frames)
        if size >= CHUNK_BYTES:
            sent.append(size)
            if len(sent) == 4:
                raise Interrupted
        return real(frames, deadline)

    monkeypatch.setattr(client, "_send", send)
    with pytest.raises(Interrupted):
        run(repository.root, client)
    before = len(sent)
    run(repository.root, client)
    assert before == 4
    assert len(sent) - before < LARGE // CHUNK_BYTES


def test_close_ends_a_snapshot_in_another_thread(
    repository: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    begun = tmp_path / "begun"
    (programs / "git").write_text(
        f'#!/bin/sh\ncase " $* " in *" pack-objects "*) touch {begun}; exec sleep 1000;; esac\n'
        f'PATH="${{PATH#{programs}:}}" exec git "$@"\n'
    )
    (programs / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    maker = GitWorkspaceMaker(Repository(repository.root))
    raised: list[BaseException] = []

    def make_it() -> None:
        try:
            maker.make(plan_of(), [])
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=make_it)
    thread.start()
    eventually(begun.exists)
    maker.close()
    thread.join(DEADLINE)
    assert not thread.is_alive()
    assert isinstance(raised[0], Abandoned)


def test_old_objects_and_repositories_of_unused_projects_are_removed(repository: Project, client: Client) -> None:
    repository.write("new", "old content\n")
    run(repository.root, client)
    (folder,) = cache_home().iterdir()
    for ref in (folder / "refs/snapshots").iterdir():
        ref.unlink()
    id = repository.git("hash-object", "new")
    old = folder / "objects" / id[:2] / id[2:]
    assert old.exists()
    long_ago = time.time() - PRUNE_SECONDS - 10
    for path in (*(folder / "objects").glob("??/*"), folder / "tidied"):
        os.utime(path, (long_ago, long_ago))
    unused = cache_home() / "unused"
    (unused / "objects").mkdir(parents=True)
    os.utime(unused, (time.time() - UNUSED_SECONDS - 10,) * 2)
    repository.write("new", "new content\n")
    run(repository.root, client)
    eventually(lambda: not old.exists())
    assert not unused.exists()
    assert make(repository.root).workspace


def test_what_is_kept_survives_the_removal_of_old_objects(repository: Project, client: Client) -> None:
    repository.write("new", "content\n")
    first = run(repository.root, client)
    (folder,) = cache_home().iterdir()
    long_ago = time.time() - PRUNE_SECONDS - 10
    gone = folder / "objects" / "ab" / ("c" * 38)
    gone.parent.mkdir(exist_ok=True)
    gone.write_bytes(b"x")
    for path in (*(folder / "objects").glob("??/*"), folder / "tidied"):
        os.utime(path, (long_ago, long_ago))
    run(repository.root, client)
    eventually(lambda: not gone.exists())
    assert run(repository.root, client) == first
