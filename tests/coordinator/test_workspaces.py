"""Workspaces of packs: what the coordinator takes, what it tells of them, and how long it keeps them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgpack
import msgspec
import pytest

from coordinator.maintenance.backup import back_up
from coordinator.maintenance.retention import Retention
from coordinator.queries import MOST_WORKSPACE_BYTES
from coordinator.security.limits import Limits
from coordinator.security.quota import Counted, Quota
from protocol import messages as m
from protocol.client import Client
from protocol.codec import decode_for_client
from protocol.errors import ProtocolError, UsageError
from protocol.workspace import MOST_COMMITS, MOST_PACKS, GitWorkspace, Pack, TarWorkspace
from tests.support.coordinator_process import Running, WireWorker
from tests.support.eventually import eventually
from tests.support.plans import PROJECT, job, plan

Start = Callable[..., Any]


@pytest.fixture
def start(new_database: Callable[[], str], tmp_path: Path) -> Start:
    """Starts a coordinator, always on the same state and database."""
    database = new_database()

    @contextmanager
    def started(**settings: Any) -> Iterator[tuple[Running, Client]]:
        with Running(tmp_path / "state", database=database, **settings) as running, running.client() as client:
            yield running, client

    return started


def pack(client: Client, folder: Path, content: str) -> Pack:
    """An uploaded pack; the coordinator does not look into it."""
    (file := folder / "pack").write_text(content)
    digest, size = client.upload(file)
    return Pack(digest=digest, size=size)


def git(snapshot: int, packs: Iterable[Pack], **fields: Any) -> GitWorkspace:
    return GitWorkspace(snapshot=f"{snapshot:040x}", packs=list(packs), **fields)


def submit(client: Client, workspace: GitWorkspace | TarWorkspace, project: str = PROJECT) -> int:
    return client.submit_run(msgspec.structs.replace(plan(job("a")), project=project), workspace)


def stored(folder: Path) -> set[str]:
    """The digests of all blobs of a state."""
    return {path.name for path in (folder / "state" / "blobs").glob("??/*")}


def age(folder: Path) -> None:
    """Lets the blobs be older than any that a run may be about to name."""
    for path in (folder / "state" / "blobs").glob("??/*"):
        os.utime(path, (0, 0))


# what is told


def test_the_newest_git_workspaces_of_a_project_are_told_once_each(start: Start, tmp_path: Path) -> None:
    with start() as (_, client):
        first, second = (pack(client, tmp_path, text) for text in "12")
        known = [git(1, [first], commits=["1" * 40], shallow=["2" * 40], depth=20), git(2, [first, second])]
        for workspace in (*known, known[0], git(3, [second])):
            submit(client, workspace)
        submit(client, TarWorkspace(digest=first.digest, size=first.size))
        client.submit_run(plan(job("a")))
        submit(client, git(4, [first]), "another")
        assert client.workspaces(PROJECT) == [git(3, [second]), known[0], known[1]]
        assert client.workspaces("another") == [git(4, [first])]
        assert client.workspaces("nothing") == []
        for limit in (-1, 0, 1, 1 << 62):
            told = client.request(m.GetWorkspaces, m.Workspaces, project=PROJECT, limit=limit).workspaces
            assert len(told) == max(0, min(limit, 3))


def test_a_workspace_that_lacks_a_pack_is_not_told(start: Start, tmp_path: Path) -> None:
    with start() as (_, client):
        first, second, third = (pack(client, tmp_path, text) for text in "123")
        submit(client, git(1, [first]))
        submit(client, git(2, [first, second]))
        submit(client, git(3, [first, third]))
        (tmp_path / "state" / "blobs" / second.digest[:2] / second.digest).unlink()
        os.truncate(tmp_path / "state" / "blobs" / third.digest[:2] / third.digest, 0)
        assert client.workspaces(PROJECT) == [git(1, [first])]


def test_an_answer_has_no_more_workspaces_than_fit(start: Start, tmp_path: Path) -> None:
    commits = [f"{number:064x}" for number in range(50_000)]
    with start() as (_, client):
        packs = [pack(client, tmp_path, "1")]
        large = [
            GitWorkspace(snapshot=f"{number:064x}", packs=packs, commits=commits, shallow=commits) for number in (1, 2)
        ]
        assert len(msgspec.msgpack.encode(large)) > MOST_WORKSPACE_BYTES
        for workspace in large:
            submit(client, workspace)
        assert client.workspaces(PROJECT) == large[1:]


# what is taken

GIT: dict[str, Any] = {"form": "git", "snapshot": "0" * 40, "packs": [{"digest": "ab" * 32, "size": 1}]}
A_PACK = GIT["packs"][0]
REFUSED: dict[str, tuple[Any, str]] = {
    "no-form": ({"digest": "ab" * 32, "size": 1}, "form"),
    "another-form": (GIT | {"form": "zip"}, "zip"),
    "no-map": ([GIT], "workspace"),
    "no-packs": (GIT | {"packs": []}, "length >= 1"),
    "too-many-packs": (GIT | {"packs": [A_PACK] * (MOST_PACKS + 1)}, f"length <= {MOST_PACKS}"),
    "a-million-packs": (GIT | {"packs": [{}] * 1_000_000}, "packs"),
    "pack-of-lists": (GIT | {"packs": [[[]]]}, "packs"),
    "size-below-0": (GIT | {"packs": [A_PACK | {"size": -1}]}, "size"),
    "size-of-64-bits": (GIT | {"packs": [A_PACK | {"size": 1 << 63}]}, "63 bits"),
    "size-that-is-no-integer": (GIT | {"packs": [A_PACK | {"size": 1.5}]}, "size"),
    "digest-that-is-a-path": (GIT | {"packs": [A_PACK | {"digest": "../" * 20}]}, "digest"),
    "unknown-field": (GIT | {"packs": [A_PACK | {"path": "x"}]}, "path"),
    "snapshot-of-another-length": (GIT | {"snapshot": "0" * 41}, "snapshot"),
    "snapshot-that-is-an-option": (GIT | {"snapshot": "--upload-pack=" + "x" * 26}, "snapshot"),
    "commit-that-is-an-option": (GIT | {"commits": ["--all"]}, "commits"),
    "too-many-commits": (GIT | {"commits": ["0" * 40] * (MOST_COMMITS + 1)}, f"length <= {MOST_COMMITS}"),
    "too-many-shallow": (GIT | {"shallow": ["0" * 40] * (MOST_COMMITS + 1)}, f"length <= {MOST_COMMITS}"),
    "history-below-0": (GIT | {"history": -1}, "history"),
    "depth-below-0": (GIT | {"depth": -1}, "depth"),
    "larger-than-any-message": (GIT | {"commits": ["0" * 64] * 300_000}, "at most"),
    "tar-of-size-below-0": ({"form": "tar", "digest": "ab" * 32, "size": -1}, "size"),
    "not-uploaded": (GIT, "not uploaded"),
}


def test_what_is_no_workspace_is_refused_with_its_reason_and_starts_nothing(tmp_path: Path) -> None:
    with Running(tmp_path / "state") as running, running.client() as client:
        wire = WireWorker(running.address, decode=decode_for_client)
        wire.send(m.ClientHello(id=0, protocol=1))
        wire.expect(m.Welcome)
        for number, (name, (workspace, why)) in enumerate(REFUSED.items(), 1):
            fields = {"id": number, "type": "submit_run", "token": name, "plan": msgspec.to_builtins(plan(job("a")))}
            wire.send_raw(msgpack.packb(fields | {"workspace": workspace}))
            told = wire.expect(m.Error)
            assert (told.id, why in told.message) == (number, True), f"{name}: {told}"
        wire.close()
        assert client.list_runs() == []
        assert running.coordinator.refused["internal"] == 0


def test_every_pack_must_be_there_and_have_its_size(start: Start, tmp_path: Path) -> None:
    with start() as (_, client):
        there = pack(client, tmp_path, "1")
        with pytest.raises(UsageError, match=f"blob {'ab' * 32} was not uploaded completely"):
            submit(client, git(1, [there, Pack(digest="ab" * 32, size=1)]))
        with pytest.raises(UsageError, match=f"blob {there.digest} has 1 bytes, not 7"):
            submit(client, git(1, [there, Pack(digest=there.digest, size=7)]))
        assert client.list_runs() == []


def test_a_job_gets_its_run_s_workspace_also_after_a_restart(start: Start, tmp_path: Path) -> None:
    with start() as (_, client):
        workspace = git(1, [pack(client, tmp_path, text) for text in "12"], commits=["1" * 40], depth=7)
        submit(client, workspace)
    with start() as (running, client):
        worker = WireWorker(running.address)
        worker.hello()
        assert worker.accept().workspace == msgspec.structs.replace(workspace, commits=[])  # clients get the tips
        assert client.workspaces(PROJECT) == [workspace]
        worker.close()


def test_a_retried_job_gets_files_of_its_own_also_after_a_restart_and_they_are_kept(
    start: Start, tmp_path: Path
) -> None:
    with start() as (_, client):
        first, edited = pack(client, tmp_path, "first"), pack(client, tmp_path, "edited")
        run = submit(client, git(1, [first]))
        client.cancel(run)
        eventually(lambda: client.get_run(run).finished_at)
        for packs, project, problem in (
            ([Pack(digest="ab" * 32, size=1)], PROJECT, "was not uploaded completely"),
            ([Pack(digest=edited.digest, size=7)], PROJECT, "has 6 bytes, not 7"),
            ([edited], "group/other", f"run {run} is of the project '{PROJECT}'"),
        ):
            with pytest.raises(UsageError, match=problem):
                client.retry(run, "a", workspace=git(2, packs), project=project)
        assert client.get_run(run).finished_at is not None
        assert client.retry(run, "a", workspace=git(2, [first, edited]), project=PROJECT) == 1
    age(tmp_path)
    with start(retention=Retention(every=0.1, runs_for=None)) as (running, client):
        eventually(lambda: running.coordinator.housekeeper.counted.began > 0)
        assert stored(tmp_path) == {first.digest, edited.digest}
        worker = WireWorker(running.address)
        worker.hello()
        assert worker.accept().workspace == git(2, [first, edited])
        worker.close()


# what is kept


def test_a_pack_stays_as_long_as_a_run_s_workspace_names_it_and_goes_with_the_last_one(
    start: Start, tmp_path: Path
) -> None:
    with start() as (_, client):
        shared, first, second, third = (pack(client, tmp_path, text) for text in ("shared", "1", "2", "3"))
        runs = [submit(client, git(number, [shared, own])) for number, own in enumerate((first, second, third))]
        for run in runs:
            client.cancel(run)
        client.submit_run(plan(job("a")))  # the newest run always stays
    keep = Retention(every=0.1, runs_for=None)
    for retention, left in ((keep, {shared, first, second, third}), (Retention(every=0.1, runs_for=0.0), set())):
        age(tmp_path)
        with start(retention=retention) as (running, client):
            eventually(lambda: running.coordinator.housekeeper.counted.began > 0)
            eventually(lambda: stored(tmp_path) == {one.digest for one in left})  # noqa: B023
            assert len(client.workspaces(PROJECT)) == (3 if left else 0)


def test_the_packs_of_the_runs_that_are_left_stay(start: Start, tmp_path: Path) -> None:
    with start() as (_, client):
        shared, old, new = (pack(client, tmp_path, text) for text in ("shared", "old", "new"))
        client.cancel(submit(client, git(1, [shared, old])))
        submit(client, git(2, [shared, new]))
    age(tmp_path)
    with start(retention=Retention(every=0.1, runs_for=0.0)) as (running, client):
        eventually(lambda: stored(tmp_path) == {shared.digest, new.digest})
        assert client.workspaces(PROJECT) == [git(2, [shared, new])]
        worker = WireWorker(running.address)
        worker.hello()
        assert worker.accept().workspace == git(2, [shared, new])
        worker.close()


def test_packs_that_a_client_was_told_of_stay_for_the_run_that_it_is_about_to_submit(
    start: Start, tmp_path: Path
) -> None:
    with start(retention=Retention(every=0.1, runs_for=0.0, young=60.0)) as (running, client):
        packs = [pack(client, tmp_path, text) for text in "12"]
        base = git(1, packs)
        run = submit(client, base)
        age(tmp_path)
        assert client.workspaces(PROJECT) == [base]
        client.submit_run(plan(job("a")))
        client.cancel(run)
        eventually(lambda: [one.id for one in client.list_runs()] == [run + 1])
        passed = running.coordinator.housekeeper.counted.began
        eventually(lambda: running.coordinator.housekeeper.counted.began > passed)
        assert client.workspaces(PROJECT) == []
        assert submit(client, git(2, [*packs, pack(client, tmp_path, "3")])) == run + 2
        assert stored(tmp_path) == {one.digest for one in client.workspaces(PROJECT)[0].packs}


def test_a_pack_of_several_runs_counts_once_for_its_project(start: Start, tmp_path: Path) -> None:
    def counted() -> Mapping[str, int]:
        by_project: Mapping[str, int] = running.coordinator.housekeeper.counted.by_project
        return by_project

    retention = Retention(every=0.1, runs_for=0.0)
    with start(limits=Limits(project_bytes=2500), retention=retention) as (running, client):
        shared = pack(client, tmp_path, "s" * 1000)
        runs = [submit(client, git(1, [shared])) for _ in range(3)]
        runs.append(submit(client, git(2, [shared, pack(client, tmp_path, "t" * 1000)])))
        eventually(lambda: counted() == {PROJECT: 2000})
        runs.append(submit(client, git(3, [shared, pack(client, tmp_path, "u" * 1000)])))
        eventually(lambda: counted() == {PROJECT: 3000})

        def refusal() -> str:
            try:
                submit(client, git(4, [shared]))
            except UsageError as error:
                return str(error)
            return ""

        eventually(lambda: "has 3000 bytes of workspaces and artifacts; the limit project_bytes is 2500" in refusal())
        client.cancel(runs[3])  # and so it goes, with the pack of its own
        eventually(lambda: not refusal())
        assert counted() == {PROJECT: 2000}


def test_a_pack_that_was_counted_is_not_charged_again_until_the_next_pass() -> None:
    quota = Quota(Limits(project_bytes=2500))
    for number, digest in enumerate(("old", "new")):
        quota.put(b"key", digest, 1000, now=1.0)
        quota.name("p", digest, 1000)
        quota.written(1.0)
        quota.count(Counted(2.0 + number, {"p": 1000 * (number + 1)}, set()))
        for _ in range(3):
            quota.name("p", "old", 1000)
            quota.check("p")
    quota.put(b"key", "third", 1000, now=9.0)
    quota.name("p", "third", 1000)
    quota.count(Counted(99.0, {"p": 2000}, set()))  # a pass that began before the run was written
    with pytest.raises(ProtocolError, match="has 3000 bytes"):
        quota.check("p")


def test_a_backup_has_the_packs_of_all_workspaces(tmp_path: Path) -> None:
    with Running(tmp_path / "state") as running, running.client() as client:
        workspace = git(1, [pack(client, tmp_path, text) for text in ("one", "two")])
        run = submit(client, workspace)
        back_up(tmp_path / "state", tmp_path / "copy")
    with Running(tmp_path / "copy") as running, running.client() as client:
        assert client.workspaces(PROJECT) == [workspace]
        for number, each in enumerate(workspace.packs):
            client.download(each.digest, tmp_path / str(number))
        assert [(tmp_path / name).read_text() for name in "01"] == ["one", "two"]
        worker = WireWorker(running.address)
        worker.hello()
        assignment = worker.accept()
        assert (assignment.run, assignment.workspace) == (run, workspace)
        worker.close()
