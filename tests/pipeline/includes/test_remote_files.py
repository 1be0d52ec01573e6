"""Files of `include:remote` between server and cache: what is fetched when, and what is accepted."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.includes.cached_project import UNUSED_SECONDS
from pipeline.includes.remote_files import KeptFiles, RemoteFiles, digest_of
from pipeline.includes.web import WebClient
from protocol.errors import LongshoreError
from tests.support.web_server import WebServer

OLD, NEW = b"old: {script: [x]}\n", b"new: {script: [x]}\n"
Reader = Callable[..., RemoteFiles]


def integrity(data: bytes) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(data).digest()).decode()}"


@pytest.fixture
def reader(tmp_path: Path, trust: dict[str, str]) -> Reader:
    """Makes what one compilation reads remote files with; `at` is the time in seconds."""

    def make(at: float = 0.0, **options: Any) -> RemoteFiles:
        kept = KeptFiles(tmp_path / "kept")
        return RemoteFiles(kept, lambda: WebClient(True, environment=trust), clock=lambda: 1e9 + at, **options)

    return make


def refusal(files: RemoteFiles, url: str, **options: Any) -> str:
    with pytest.raises(LongshoreError) as raised:
        files.read(url, **options)
    return str(raised.value)


def test_without_a_cache_each_compilation_asks_once(server: WebServer, reader: Reader) -> None:
    server.files["/a.yml"] = OLD
    first = reader()
    assert first.read(server.url("/a.yml")) == OLD
    server.files["/a.yml"] = NEW
    assert first.read(server.url("/a.yml")) == OLD
    assert len(server.requests) == 1
    assert reader().read(server.url("/a.yml")) == NEW


def test_a_file_that_was_refused_is_not_asked_for_again(server: WebServer, reader: Reader) -> None:
    files = reader()
    first = refusal(files, server.url("/gone.yml"))
    assert refusal(files, server.url("/gone.yml")) == first
    assert len(server.requests) == 1


def test_a_cached_file_is_asked_again_after_its_time_or_at_once(server: WebServer, reader: Reader) -> None:
    url = server.url("/a.yml")
    server.files["/a.yml"] = OLD
    reader(0).read(url)
    server.files["/a.yml"] = NEW
    assert reader(59).read(url, max_age=60) == OLD
    assert reader(-1).read(url, max_age=60) == NEW, "a time in the future is no time to trust"
    server.files["/a.yml"] = OLD
    assert reader(100).read(url, max_age=60) == OLD
    server.files["/a.yml"] = NEW
    assert reader(101, refresh=True).read(url, max_age=60) == NEW
    assert reader(101).read(f"{url}?other=1", max_age=60) == NEW
    assert len(server.requests) == 5


def test_offline_nothing_is_asked_and_the_kept_copy_serves(server: WebServer, reader: Reader) -> None:
    url = server.url("/a.yml")
    assert "with --offline" in refusal(reader(offline=True), url)
    server.files["/a.yml"] = OLD
    reader(0).read(url)
    del server.requests[:]
    assert reader(1e6, offline=True).read(url) == OLD
    assert reader(1e6, offline=True).read(url, max_age=60) == OLD
    assert server.requests == []


def test_a_file_has_to_have_its_integrity_kept_or_fetched(server: WebServer, reader: Reader) -> None:
    url = server.url("/a.yml")
    server.files["/a.yml"] = OLD
    assert reader().read(url, integrity=integrity(OLD)) == OLD
    said = refusal(reader(), url, integrity=integrity(NEW))
    assert said == f"is not the file that `integrity` demands: it has {integrity(OLD)}"
    assert said == refusal(reader(offline=True), url, integrity=integrity(NEW))
    server.files["/a.yml"] = NEW
    assert reader(1).read(url, integrity=integrity(NEW), max_age=60) == NEW, "the kept copy is too old for the file"


@pytest.mark.parametrize("written", ["", "md5-x", "sha256-", "sha256-AAAA", f"sha256-{'A' * 44}", "x"])
def test_an_integrity_is_a_sha256_in_base64(written: str) -> None:
    with pytest.raises(LongshoreError, match="is not `sha256-` followed by a SHA-256"):
        digest_of(written)


def test_a_pinned_file_is_taken_from_what_is_kept_whatever_its_age(server: WebServer, reader: Reader) -> None:
    url = server.url("/a.yml")
    pinned = hashlib.sha256(OLD).hexdigest()
    server.files["/a.yml"] = OLD
    reader().read(url)
    server.files["/a.yml"] = NEW
    reader().read(url)
    del server.requests[:]
    for options in ({}, {"refresh": True}, {"offline": True}):
        assert reader(1e6, **options).read(url, pinned=pinned) == OLD
    assert server.requests == []


def test_a_pinned_file_that_has_changed_is_an_error_with_its_mend(server: WebServer, reader: Reader) -> None:
    url = server.url("/a.yml")
    server.files["/a.yml"] = NEW
    said = refusal(reader(), url, pinned=hashlib.sha256(OLD).hexdigest())
    assert said.startswith("has changed since it was locked (sha256 ")
    assert said.endswith("accept the change: longshore lock --update")
    server.files["/a.yml"] = OLD
    assert reader().read(url, pinned=hashlib.sha256(OLD).hexdigest()) == OLD
    assert "with --offline" in refusal(reader(offline=True), url, pinned="0" * 64)


def test_a_damaged_copy_is_no_copy(server: WebServer, reader: Reader, tmp_path: Path) -> None:
    url = server.url("/a.yml")
    server.files["/a.yml"] = OLD
    for folder in ("contents", "urls"):
        reader(0).read(url)
        for path in (tmp_path / "kept" / folder).iterdir():
            path.write_bytes(b"{}")
        assert reader(1).read(url, max_age=60) == OLD
        [path] = (tmp_path / "kept" / folder).iterdir()
        path.unlink()
        assert "with --offline" in refusal(reader(2, offline=True), url)


def test_what_is_kept_shows_no_url_and_goes_when_unused(server: WebServer, reader: Reader, tmp_path: Path) -> None:
    server.files["/a.yml"], server.files["/b.yml"] = OLD, NEW
    reader().read(server.url("/a.yml?token=secret"))
    kept = [path for path in (tmp_path / "kept").rglob("*") if path.is_file()]
    assert len(kept) == 2
    assert not [path for path in kept if b"secret" in path.read_bytes() or "secret" in path.name]
    long_after = kept[0].stat().st_mtime - 1e9 + UNUSED_SECONDS + 60
    reader(long_after).read(server.url("/b.yml"))
    assert not [path for path in kept if path.exists()]


def test_a_cache_that_cannot_be_written_keeps_nothing_and_breaks_nothing(
    server: WebServer, trust: dict[str, str], tmp_path: Path
) -> None:
    server.files["/a.yml"] = OLD
    (tmp_path / "file").write_text("")
    files = RemoteFiles(KeptFiles(tmp_path / "file"), lambda: WebClient(True, environment=trust))
    assert files.read(server.url("/a.yml"), max_age=60) == OLD


def test_a_slow_fetch_is_told_without_its_secrets(server: WebServer, reader: Reader) -> None:
    told: list[str] = []

    def progress(text: str) -> None:
        told.append(text)
        server.released.set()

    url = server.url("/held?token=secret").replace("://", "://user:secret@")
    reader(progress=progress).read(url)
    reader(progress=progress).read(url, max_age=60)
    assert told == [f"fetching {server.url('/held')}?..."]
