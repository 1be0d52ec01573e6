"""Artifacts from a real coordinator, over a link that breaks."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from cli.artifacts.fetching import Fetcher, Selection, directory_names
from daemon.executors.common.archive_members import ArchiveWriter
from daemon.tar_stream import Member
from protocol.client import Client
from protocol.errors import CoordinatorUnreachable, LongshoreError, UsageError
from protocol.keys import find_credentials
from protocol.names import CHUNK_BYTES
from protocol.statuses import ExecutionStatus
from protocol.views import PAGES, ArtifactRef, JobView
from tests.support.coordinator_thread import Server
from tests.support.flaky_link import Cable

BIG = 6 * CHUNK_BYTES


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path)
    yield server
    server.stop()


def stored(server: Server, path: Path, kind: str, name: str, **fields: float) -> ArtifactRef:
    with server.client() as client:
        digest, size = client.upload(path)
    return ArtifactRef(kind=kind, digest=digest, size=size, name=name, **fields)


def job_with(*artifacts: ArtifactRef) -> JobView:
    return JobView(id=1, name="make", status=ExecutionStatus.SUCCESS, attempt=1, artifacts=list(artifacts))


def archive(folder: Path, **files: bytes) -> Path:
    path = folder / "archive"
    with ArchiveWriter(path) as out:
        for name, data in files.items():
            out.add(Member(name, b"0", len(data), 0o644), iter([data]))
    return path


def never() -> None:
    raise AssertionError


def test_a_large_artifact_goes_on_where_the_link_broke(server: Server, tmp_path: Path) -> None:
    data = os.urandom(BIG)  # does not shrink
    job = job_with(stored(server, archive(tmp_path, big=data), "archive", "artifacts"))
    cable, keys = Cable(server.address), find_credentials(server.address)
    clients = [Client(cable.address, timeout=0.5, credentials=keys)]
    arrived: list[int] = []

    def tell(so_far: int, size: int) -> None:
        arrived.append(so_far)
        if len(arrived) == 3:
            cable.cut()

    def again() -> None:
        clients.pop().close()
        cable.mend()
        clients.append(Client(cable.address, timeout=30, credentials=keys))

    Fetcher(lambda: clients[-1], again, tell).lay(job, tmp_path / "out")
    clients[-1].close()
    cable.close()
    assert arrived == sorted(set(arrived)), "no piece came twice"
    assert (tmp_path / "out/big").read_bytes() == data
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["big"]


def test_a_link_that_stays_broken_leaves_nothing(server: Server, tmp_path: Path) -> None:
    job = job_with(stored(server, archive(tmp_path, big=os.urandom(BIG)), "archive", "artifacts"))
    cable, keys = Cable(server.address), find_credentials(server.address)

    def again() -> None:
        raise CoordinatorUnreachable("gone for good")

    with (
        Client(cable.address, timeout=0.5, credentials=keys) as client,
        pytest.raises(CoordinatorUnreachable, match="gone for good"),
    ):
        Fetcher(lambda: client, again, lambda *_: cable.cut()).lay(job, tmp_path / "out")
    cable.close()
    assert list((tmp_path / "out").iterdir()) == []


def test_reports_are_laid_too_and_the_archive_wins(server: Server, tmp_path: Path) -> None:
    report = tmp_path / "report"
    report.write_bytes(b"masked")
    job = job_with(
        stored(server, archive(tmp_path, **{"junit.xml": b"plain", "x": b"x"}), "archive", "artifacts"),
        stored(server, report, "junit", "junit.xml"),
        stored(server, report, "dotenv", "vars.env"),
    )
    with server.client() as client:
        fetcher = Fetcher(lambda: client, never)
        fetcher.lay(job, tmp_path / "all")
        selection = Selection(["./x", "*.env"])
        assert fetcher.lay(job, tmp_path / "some", selection.wants) == (2, 7)
        with fetcher.files(job, lambda path: True) as files:
            found = {(each.entry.path, each.entry.kind): b"".join(each.content()) for each in files}
    assert {path.name: path.read_bytes() for path in (tmp_path / "all").iterdir()} == {
        "junit.xml": b"plain", "x": b"x", "vars.env": b"masked",
    }  # fmt: skip
    assert found["junit.xml", "junit"] == b"masked"
    assert found["x", "file"] == b"x"


def test_an_artifact_that_is_gone_says_why(server: Server, tmp_path: Path) -> None:
    absent = ArtifactRef(digest="0" * 64, size=1, kind="archive", name="artifacts")
    with server.client() as client:
        fetcher = Fetcher(lambda: client, never)
        for ref, said in (
            (
                msgspec.structs.replace(absent, expires_at=0.0),
                "the artifacts of job 'make' expired at 1970-01-01 00:00:00 UTC; ",
            ),
            (absent, "the artifacts of job 'make' are no longer stored; "),
        ):
            with pytest.raises(UsageError, match=said):
                fetcher.lay(job_with(ref), tmp_path / "out")


def test_a_damaged_archive_is_refused(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "archive"
    path.write_bytes(b"no archive")
    job = job_with(stored(server, path, "archive", "artifacts"))
    with server.client() as client, pytest.raises(LongshoreError, match="the archive of job 'make' is refused"):
        Fetcher(lambda: client, never).lay(job, tmp_path / "out")


def test_a_path_that_matches_nothing_is_named() -> None:
    selection = Selection(["out", "gone/**"])
    assert selection.wants("out/a")
    assert not selection.wants("other")
    with pytest.raises(
        UsageError, match="job 'make it' has no artifact 'gone/\\*\\*'; `longshore artifacts 7 'make it'`"
    ):
        selection.check(7, "make it")


def test_each_job_has_a_directory_of_its_own() -> None:
    names = directory_names(["a b", "a/b", "A_B", "test: [x, y] 1/2", "..", "x" * 300, "\x1b[2J"])
    assert len({name.casefold() for name in names.values()}) == 7
    assert names["a b"] == "a_b"
    assert names["a/b"] == "a_b~2"
    assert all("/" not in name and name not in ("", ".", "..") and name.isprintable() for name in names.values())
    assert max(map(len, names.values())) == 200


def test_pages_are_no_artifacts_beside_their_job_s_archive(server: Server, tmp_path: Path) -> None:
    packed = archive(tmp_path, file=b"x")
    job = job_with(stored(server, packed, "archive", "artifacts"), stored(server, packed, PAGES, "public"))
    with server.client() as client:
        fetcher = Fetcher(lambda: client, never)
        fetcher.lay(job, tmp_path / "out")
        with fetcher.files(job, lambda path: True) as found:
            assert [each.entry.path for each in found] == ["file"]
    assert os.listdir(tmp_path / "out") == ["file"]
