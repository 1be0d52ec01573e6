"""Unpacking what a job has made, over whatever the user has there."""

from __future__ import annotations

import io
import os
import stat
import tarfile
from pathlib import Path

import pytest

from cli.artifacts.unpacking import Unpacker, content, entries
from protocol.errors import LongshoreError

LONG_AGO = 1_000_000_000


def member(name: str, data: bytes = b"", **fields: object) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime = len(data), 0o644, LONG_AGO
    for key, value in fields.items():
        setattr(info, key, value)
    return info, data


def directory(name: str, mode: int = 0o755) -> tuple[tarfile.TarInfo, bytes]:
    return member(name, type=tarfile.DIRTYPE, mode=mode)


def symlink(name: str, target: str) -> tuple[tarfile.TarInfo, bytes]:
    return member(name, type=tarfile.SYMTYPE, linkname=target)


def hard_link(name: str, target: str) -> tuple[tarfile.TarInfo, bytes]:
    return member(name, type=tarfile.LNKTYPE, linkname=target)


def archive(folder: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    path = folder / "archive.tar"
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        for info, data in members:
            tar.addfile(info, io.BytesIO(data))
    return path


def unpack(packed: Path, root: Path) -> Unpacker:
    root.mkdir(exist_ok=True)
    with Unpacker(root) as unpacker:
        unpacker.archive(packed, "job 'make'")
    return unpacker


def refused(packed: Path, root: Path) -> str:
    with pytest.raises(LongshoreError) as raised:
        unpack(packed, root)
    return str(raised.value)


def tree(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*"))


def test_files_have_their_modes_times_and_links(tmp_path: Path) -> None:
    packed = archive(
        tmp_path,
        directory("out", 0o555),
        member("out/tool", b"#!/bin/sh\n", mode=0o755),
        member("out/set", b"x", mode=0o6755),
        symlink("out/link", "../../anywhere"),
        hard_link("out/same", "out/tool"),
        member("out/\udcff \N{SNOWMAN}", b""),
    )
    root = tmp_path / "root"
    done = unpack(packed, root)
    assert (done.count, done.size) == (4, 11)
    tool = (root / "out/tool").stat()
    assert (stat.S_IMODE(tool.st_mode), tool.st_mtime, tool.st_nlink) == (0o755, LONG_AGO, 2)
    assert stat.S_IMODE((root / "out/set").stat().st_mode) == 0o755
    assert os.readlink(root / "out/link") == "../../anywhere"
    assert stat.S_IMODE((root / "out").stat().st_mode) == 0o555
    assert (root / "out").stat().st_mtime == LONG_AGO
    assert os.fsencode("out/\udcff \N{SNOWMAN}") in {
        os.path.join(b"out", name) for name in os.listdir(bytes(root / "out"))
    }


def test_a_second_time_replaces_the_files_and_keeps_the_others(tmp_path: Path) -> None:
    root = tmp_path / "root"
    unpack(archive(tmp_path, member("a/x", b"old"), symlink("a/l", "x")), root)
    (root / "a/mine").write_text("mine")
    unpack(archive(tmp_path, member("a/x", b"new"), member("a/l", b"file")), root)
    assert {name: (root / "a" / name).read_text() for name in ("x", "l", "mine")} == {
        "x": "new", "l": "file", "mine": "mine",
    }  # fmt: skip
    assert not (root / "a/l").is_symlink()


def test_only_wanted_files_are_laid_and_a_hard_link_alone_has_its_data(tmp_path: Path) -> None:
    packed = archive(tmp_path, member("a", b"data"), hard_link("b", "a"), hard_link("c", "a"), member("d", b"no"))
    root = tmp_path / "root"
    root.mkdir()
    with Unpacker(root) as unpacker:
        unpacker.archive(packed, "job", lambda path: path in ("b", "c"))
    assert tree(root) == ["b", "c"]
    assert (root / "b").read_bytes() == b"data"
    assert (root / "b").samefile(root / "c")


def test_nothing_is_written_through_a_link_that_is_there(tmp_path: Path) -> None:
    outside, root = tmp_path / "outside", tmp_path / "root"
    outside.mkdir()
    root.mkdir()
    (root / "a").symlink_to(outside)
    (root / "f").symlink_to(outside / "victim")
    unpack(archive(tmp_path, member("a/b/c", b"x"), member("f", b"x"), directory("a/b", 0o700)), root)
    assert tree(outside) == []
    assert (root / "a/b/c").read_bytes() == b"x"
    assert not (root / "a").is_symlink()


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ([member("../x", b"x")], "'../x' is outside the directory"),
        ([member("/x", b"x")], "'/x' is outside the directory"),
        ([member("a/../../x", b"x")], "is outside the directory"),
        ([symlink("a", "/"), member("a/x", b"x")], "'a/x' is beyond the symbolic link 'a'"),
        ([symlink("a", "/etc/passwd"), hard_link("b", "a")], "'b' is a link to a symbolic link"),
        ([hard_link("b", "../secret")], "'../secret' is outside the directory"),
    ],
)
def test_a_hostile_archive_is_refused(tmp_path: Path, members: list[tuple[tarfile.TarInfo, bytes]], said: str) -> None:
    (tmp_path / "secret").write_text("secret")
    message = refused(archive(tmp_path, *members), tmp_path / "root")
    assert message.startswith("the archive of job 'make' is refused: ")
    assert said in message
    assert set(tree(tmp_path)) <= {"archive.tar", "secret", "root", "root/a"}


def test_a_device_is_left_out(tmp_path: Path) -> None:
    unpack(archive(tmp_path, member("pipe", type=tarfile.FIFOTYPE), member("x", b"")), tmp_path / "root")
    assert tree(tmp_path / "root") == ["x"]


def test_a_file_in_the_place_of_a_directory_is_an_error_that_names_it(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "a/b").mkdir(parents=True)
    assert refused(archive(tmp_path, member("a", b"x")), root) == (
        f"{root / 'a'} is a directory here and a file there; remove it first"
    )
    assert tree(root) == ["a", "a/b"]


def test_a_truncated_archive_leaves_no_half_file(tmp_path: Path) -> None:
    packed = archive(tmp_path, member("whole", b"x"), member("half", bytes(100_000)))
    packed.write_bytes(packed.read_bytes()[:50_000])
    assert "is refused" in refused(packed, tmp_path / "root")
    assert tree(tmp_path / "root") == ["whole"]


def test_a_report_is_laid_at_its_path_and_never_outside(tmp_path: Path) -> None:
    source, root = tmp_path / "source", tmp_path / "root"
    source.write_bytes(b"report")
    root.mkdir()
    with Unpacker(root) as unpacker:
        unpacker.file("a/./b.xml", source)
        for name in ("../b", "/b", ".", "a/../.."):
            with pytest.raises(LongshoreError, match="is outside the directory"):
                unpacker.file(name, source)
    assert tree(root) == ["a", "a/b.xml"]


def test_a_listing_has_every_file_and_its_content_can_be_read(tmp_path: Path) -> None:
    packed = archive(
        tmp_path, directory("d"), member("d/f", b"text", mode=0o600), hard_link("h", "d/f"), symlink("l", "d/f")
    )
    assert [(each.path, each.kind, each.size, each.mode, each.target) for each in entries(packed, "job")] == [
        ("d", "directory", 0, 0o755, ""),
        ("d/f", "file", 4, 0o600, ""),
        ("h", "file", 4, 0o600, ""),
        ("l", "link", 0, 0o777, "d/f"),
    ]
    assert b"".join(content(packed, "job", "h")) == b"text"
