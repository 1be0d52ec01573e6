"""An archive of a job on the user's machine: its files are there, and nothing else was touched."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterable
from pathlib import Path

import pytest

from cli.downloads.unpacking import unpack
from daemon.tar_stream import END, Member, padding
from protocol.compression import compressed
from protocol.errors import LongshoreError, UsageError


def entry(name: str, data: bytes = b"", *, mode: int = 0o644) -> tuple[Member, bytes]:
    return Member(name, tarfile.REGTYPE, len(data), mode, 1_000_000_000), data


def folder(name: str, mode: int = 0o777) -> tuple[Member, bytes]:
    return Member(name, tarfile.DIRTYPE, 0, mode, 1_000_000_000), b""


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tuple[Member, bytes]:
    return Member(name, kind, 0, 0o777, 0, target), b""


def archive(path: Path, members: Iterable[tuple[Member, bytes]], *, whole: bool = True) -> Path:
    with path.open("wb") as file, compressed(file) as out:
        for member, data in members:
            out.write(member.encoded() + data + padding(len(data)))
        if whole:
            out.write(END * 2)
    return path


def test_files_directories_and_links_come_out_as_they_were(tmp_path: Path) -> None:
    packed = archive(
        tmp_path / "a",
        [
            folder("sub"),
            entry("sub/run", b"#!", mode=0o4777),
            entry("data", b"xyz", mode=0o666),
            link("sub/up", "../data"),
            link("hard", "data", tarfile.LNKTYPE),
        ],
    )
    done = unpack(packed, tmp_path / "new" / "out")
    out = tmp_path / "new" / "out"
    assert sorted(str(path.relative_to(out)) for path in out.rglob("*")) == ["data", "hard", "sub", "sub/run", "sub/up"]
    assert (out / "data").read_bytes() == b"xyz" == (out / "sub" / "up").read_bytes()
    assert os.readlink(out / "sub" / "up") == "../data"
    modes = [(out / name).stat().st_mode & 0o7777 for name in ("sub", "sub/run", "data")]
    assert modes == [0o755, 0o755, 0o644]
    assert (out / "sub").stat().st_mtime == (out / "data").stat().st_mtime == 1_000_000_000
    assert (done.files, done.bytes, done.left_out) == (3, 5, [])


@pytest.mark.parametrize("target", ["/etc/passwd", "../outside", "sub/../../outside", ".."])
def test_links_that_lead_out_are_left_out(tmp_path: Path, target: str) -> None:
    done = unpack(archive(tmp_path / "a", [link("away", target), entry("data", b"x")]), tmp_path / "out")
    assert done.left_out == ["away"]
    assert os.listdir(tmp_path / "out") == ["data"]


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([entry("../x", b"x")], "is outside the directory"),
        ([entry("/x", b"x")], "is outside the directory"),
        ([folder("a/../../x")], "is outside the directory"),
        ([link("a", "."), entry("a/x", b"x")], "is beyond the symbolic link"),
        ([link("hard", "../secret", tarfile.LNKTYPE)], "is outside the directory"),
        ([link("a", "/etc/passwd"), link("b", "a", tarfile.LNKTYPE)], "is a link to a symbolic link"),
        ([folder("a"), entry("a", b"x")], "is a directory and something else"),
    ],
    ids=range(7),
)
def test_an_archive_that_means_harm_is_refused(
    tmp_path: Path, members: list[tuple[Member, bytes]], message: str
) -> None:
    (tmp_path / "secret").write_text("secret")
    with pytest.raises(LongshoreError, match=message):
        unpack(archive(tmp_path / "a", members), tmp_path / "out")
    assert sorted(os.listdir(tmp_path)) == ["a", "out", "secret"]


def test_a_file_in_the_place_of_a_link_is_not_written_through_it(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("untouched")
    unpack(archive(tmp_path / "a", [link("a", "../victim"), entry("a", b"x")]), tmp_path / "out")
    assert (tmp_path / "victim").read_text() == "untouched"
    assert (tmp_path / "out" / "a").read_bytes() == b"x"


@pytest.mark.parametrize("cut", [True, False])
def test_what_is_damaged_is_one_clear_error(tmp_path: Path, cut: bool) -> None:
    packed = archive(tmp_path / "a", [entry("x", b"x")], whole=False)
    if not cut:
        packed.write_bytes(b"nonsense" * 100)
    with pytest.raises(LongshoreError, match="the archive is refused"):
        unpack(packed, tmp_path / "out")


def test_a_directory_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    packed = archive(tmp_path / "a", [entry("x", b"x")])
    (tmp_path / "out").mkdir()
    unpack(packed, tmp_path / "out")
    with pytest.raises(UsageError, match="is not empty"):
        unpack(packed, tmp_path / "out")
    (tmp_path / "file").write_text("x")
    with pytest.raises(UsageError, match="can't write to"):
        unpack(packed, tmp_path / "file")
