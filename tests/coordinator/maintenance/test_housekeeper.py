"""What is old or takes too much room goes; what is unfinished, the newest, or about to be used, stays."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from coordinator.maintenance.retention import Retention
from protocol import messages as m
from protocol.errors import LongshoreError
from protocol.events import RunRemoved
from protocol.plan import ArtifactsSpec
from protocol.statuses import ExecutionStatus as S
from protocol.views import ArtifactRef
from protocol.workspace import TarWorkspace
from tests.support.coordinator_process import Running, WireWorker
from tests.support.eventually import DEADLINE, eventually
from tests.support.plans import job, plan

BUSY = Retention(runs_for=0.0, every=0.1)
"""Keeps no finished run but the newest, and looks all the time."""


def running(folder: Path, **retention: Any) -> Running:
    return Running(folder, retention=Retention(**{"every": 0.1, "runs_for": None} | retention))


def files(folder: Path, kind: str) -> list[Path]:
    return [path for path in (folder / kind).rglob("*") if path.is_file() and "journal" not in path.name]


def contents(folder: Path) -> list[bytes]:
    """Of the blobs that stay where they are while they are read."""
    found = []
    for path in files(folder, "blobs"):
        with suppress(FileNotFoundError):
            found.append(path.read_bytes())
    return found


def age(folder: Path) -> None:
    """Lets the blobs be older than any that a run may be about to name."""
    for path in files(folder, "blobs"):
        os.utime(path, (0, 0))


def upload(client: Any, folder: Path, content: bytes) -> tuple[str, int]:
    path = folder / "upload"
    path.write_bytes(content)
    return client.upload(path)


def tar(client: Any, folder: Path, content: bytes) -> TarWorkspace:
    digest, size = upload(client, folder, content)
    return TarWorkspace(digest=digest, size=size)


def test_old_finished_runs_go_with_their_logs_and_files_and_ids_are_not_used_again(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with running(state) as coordinator, coordinator.client() as client:
        worker = WireWorker(coordinator.address)
        worker.hello()
        for number in range(3):
            workspace = tar(client, tmp_path, b"workspace %d" % number)
            client.submit_run(plan(job("a"), job("b", "later")), workspace)
            worker.run(b"log of a\n")
            worker.run(b"log of b\n")
        unfinished = client.submit_run(plan(job("a")), workspace)
        worker.status(worker.accept().attempt, 2, S.RUNNING)
        worker.close()
    age(state)
    with running(state, runs_for=0.0) as coordinator, coordinator.client() as client:
        eventually(lambda: [run.id for run in client.list_runs()] == [unfinished])
        eventually(lambda: len(files(state, "blobs")) == 1)
        eventually(lambda: files(state, "logs") == [])
        with pytest.raises(LongshoreError, match="no run 1"):
            client.get_run(1)
        assert client.submit_run(plan(job("a"))) == unfinished + 1
    with running(state, runs_for=0.0) as coordinator, coordinator.client() as client:
        client.cancel(unfinished)
        client.cancel(unfinished + 1)
        eventually(lambda: [run.id for run in client.list_runs()] == [unfinished + 1])
        assert client.submit_run(plan(job("a"))) == unfinished + 2


def test_a_feed_is_told_of_runs_that_go(tmp_path: Path) -> None:
    with Running(tmp_path, retention=BUSY) as coordinator, coordinator.client() as client:
        feed = client.feed()
        first = client.submit_run(plan(job("a")))
        client.cancel(first)
        client.submit_run(plan(job("a")))
        while True:
            received = feed.receive(DEADLINE)
            assert received is not None
            if isinstance(received[0], RunRemoved):
                assert received[0].run == first
                break
        feed.close()


def size_of(paths: Iterable[Path]) -> int:
    """Bytes of those files that are still there."""
    total = 0
    for path in paths:
        with contextlib.suppress(FileNotFoundError):  # removed meanwhile
            total += path.stat().st_size
    return total


def test_the_oldest_go_first_when_all_takes_too_much_room(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with running(state) as coordinator, coordinator.client() as client:
        worker = WireWorker(coordinator.address)
        worker.hello()
        for _ in range(15):
            client.submit_run(plan(job("a")))
            worker.run(os.urandom(10_000))
        worker.close()
    with running(state, size=60_000) as coordinator, coordinator.client() as client:
        eventually(lambda: size_of(files(state, "logs")) <= 60_000)
        assert [run.id for run in client.list_runs()] == [15, 14, 13, 12, 11]
        assert len(client.get_log(15, "a")[1]) == 10_000


def test_artifacts_expire_when_their_job_says_so_and_their_run_stays(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with running(state) as coordinator, coordinator.client() as client:
        worker = WireWorker(coordinator.address)
        worker.hello()
        for name, spec in (("short", ArtifactsSpec(paths=["x"], expire_in=0.1)), ("long", ArtifactsSpec(paths=["x"]))):
            digest, size = upload(client, tmp_path, name.encode())
            client.submit_run(plan(job(name, artifacts=spec)))
            worker.run(artifacts=[ArtifactRef(kind="archive", digest=digest, size=size)])
        age(state)
        eventually(lambda: contents(state) == [b"long"])
        assert [run.status for run in client.list_runs()] == [S.SUCCESS, S.SUCCESS]
        worker.close()


def test_a_blob_that_was_just_put_again_is_left_for_the_run_that_is_to_come(tmp_path: Path) -> None:
    with Running(tmp_path / "state", retention=Retention(every=0.1, young=60.0)) as coordinator:
        with coordinator.client() as client:
            workspace = tar(client, tmp_path, b"workspace")
            blob = tmp_path / "state" / "blobs" / workspace.digest[:2] / workspace.digest
            os.utime(blob, (0, 0))
            upload(client, tmp_path, b"workspace")
            assert client.submit_run(plan(job("a")), workspace) == 1
        worker = WireWorker(coordinator.address)
        worker.hello()
        assert worker.accept().workspace == workspace
        worker.send(m.BlobGet(id=1, digest=workspace.digest, offset=0, length=workspace.size))
        assert worker.expect(m.BlobData).size == workspace.size
        worker.close()
