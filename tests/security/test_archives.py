"""Hostile archives are not unpacked, whichever way they are read, and ordinary ones lose nothing."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon import archive_guard
from daemon.archives import ROOT, BadArchive, Owner, joined

Build = Callable[[tarfile.TarFile], None]
OWNERS = (ROOT, Owner(1000, 1000))


def member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "", data: bytes = b"") -> Build:
    def build(tar: tarfile.TarFile) -> None:
        info = tarfile.TarInfo(name)
        info.type, info.linkname, info.size = kind, target, len(data)
        tar.addfile(info, io.BytesIO(data) if data else None)

    return build


def archive(path: Path, *members: Build, form: int = tarfile.PAX_FORMAT) -> Path:
    with tarfile.open(path, "w:gz", format=form) as tar:
        for build in members:
            build(tar)
    return path


LONG = "deep/" * 60
HOSTILE: dict[str, list[Build]] = {
    "above": [member("../evil")],
    "above in the middle": [member("a/../../evil")],
    "absolute": [member("/etc/passwd")],
    "above with a long name": [member("../" * 60 + "evil")],
    "absolute with a long name": [member("/" + LONG + "evil")],
    "through a link": [member("out", tarfile.SYMTYPE, "/etc"), member("out/passwd", data=b"x")],
    "through a link under another spelling": [member("./out", tarfile.SYMTYPE, ".."), member("out/./x/../y")],
    "a hard link out": [member("x", tarfile.LNKTYPE, "/etc/shadow")],
    "a hard link above": [member("x", tarfile.LNKTYPE, "../../etc/shadow")],
    "a hard link to a link": [member("out", tarfile.SYMTYPE, "/etc/shadow"), member("x", tarfile.LNKTYPE, "out")],
    "a character device": [member("mem", tarfile.CHRTYPE)],
    "a block device": [member("sda", tarfile.BLKTYPE)],
    "a pipe": [member("pipe", tarfile.FIFOTYPE)],
    "contiguous": [member("x", tarfile.CONTTYPE)],
    "of a kind that nobody knows": [member("x", b"Z")],
}


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
@pytest.mark.parametrize("owner", OWNERS)
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_archive_is_refused(tmp_path: Path, name: str, owner: Owner, form: int) -> None:
    path = archive(tmp_path / "a.tar.gz", *HOSTILE[name], form=form)
    with pytest.raises(BadArchive, match="is not unpacked"):
        b"".join(joined([path], owner))


@pytest.mark.parametrize("owner", OWNERS)
def test_a_link_of_one_archive_is_no_way_out_for_the_next(tmp_path: Path, owner: Owner) -> None:
    first = archive(tmp_path / "1.tar.gz", member("out", tarfile.SYMTYPE, "/etc"))
    second = archive(tmp_path / "2.tar.gz", member("out/passwd", data=b"x"))
    with pytest.raises(BadArchive, match="beyond the symbolic link 'out'"):
        b"".join(joined([first, second], owner))


@pytest.mark.parametrize("owner", OWNERS)
def test_more_members_or_bytes_than_the_bounds_are_refused(
    tmp_path: Path, owner: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = archive(tmp_path / "a.tar.gz", *(member(f"f{number}", data=b"x" * 1000) for number in range(20)))
    assert b"".join(joined([path], owner))
    monkeypatch.setattr(archive_guard, "MOST_MEMBERS", 19)
    with pytest.raises(BadArchive, match="more than 19 members"):
        b"".join(joined([path], owner))
    monkeypatch.setattr(archive_guard, "MOST_MEMBERS", 100)
    monkeypatch.setattr(archive_guard, "MOST_BYTES", 10_000)
    with pytest.raises(BadArchive, match="unpacked it has more"):
        b"".join(joined([path], owner))


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
@pytest.mark.parametrize("owner", OWNERS)
def test_an_ordinary_archive_loses_nothing(tmp_path: Path, owner: Owner, form: int) -> None:
    path = archive(
        tmp_path / "a.tar.gz",
        member("bin", tarfile.DIRTYPE),
        member("bin/python", tarfile.SYMTYPE, "/usr/bin/python3"),
        member("up", tarfile.SYMTYPE, "../../elsewhere"),
        member(LONG + "file", data=b"deep"),
        member("\N{SNOWMAN} name", data=b"snow"),
        member("twice", data=b"1"),
        member("again", tarfile.LNKTYPE, "twice"),
        member("long", tarfile.SYMTYPE, LONG + "x"),
        form=form,
    )
    with tarfile.open(fileobj=io.BytesIO(b"".join(joined([path], owner)))) as tar:
        found = {info.name: info.linkname for info in tar if info.name.rpartition("/")[2] not in ("deep", "")}
    assert found["bin/python"] == "/usr/bin/python3"
    assert found["long"] == LONG + "x"
    assert {LONG + "file", "\N{SNOWMAN} name", "again", "up"} <= found.keys()


@pytest.mark.parametrize("owner", OWNERS)
@given(data=st.binary(max_size=3000), at=st.integers(0, 3000))
def test_damage_is_refused_or_harmless(
    tmp_path_factory: pytest.TempPathFactory, owner: Owner, data: bytes, at: int
) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        member("a/b", data=b"x" * 600)(tar)
        member("\N{SNOWMAN}" * 60)(tar)
    whole = bytearray(out.getvalue())
    whole[at : at + len(data)] = data
    path = tmp_path_factory.mktemp("damaged") / "a.tar.gz"
    path.write_bytes(gzip.compress(bytes(whole), 1))
    try:
        unpacked = b"".join(joined([path], owner))
    except BadArchive:
        return
    try:
        with tarfile.open(fileobj=io.BytesIO(unpacked)) as tar:
            names = [info.name for info in tar]
    except tarfile.TarError:
        return
    assert not [name for name in names if name.startswith(("/", "../"))]
