"""Hostile archives are not unpacked, whichever way they are read, and ordinary ones lose nothing."""

from __future__ import annotations

import gzip
import io
import posixpath
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.executors.common import archive_guard
from daemon.executors.common.archive_guard import Clash
from daemon.executors.common.archives import Place, joined
from daemon.tar_stream import ROOT, BadArchive, Owner

Build = Callable[[tarfile.TarFile], None]
OWNERS = (ROOT, Owner(1000, 1000))


def member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "", data: bytes = b"", mode: int = 0o644) -> Build:
    def build(tar: tarfile.TarFile) -> None:
        info = tarfile.TarInfo(name)
        info.type, info.linkname, info.size, info.mode = kind, target, len(data), mode
        tar.addfile(info, io.BytesIO(data) if data else None)

    return build


def archive(path: Path, *members: Build, form: int = tarfile.PAX_FORMAT) -> Path:
    with tarfile.open(path, "w:gz", format=form) as tar:
        for build in members:
            build(tar)
    return path


LONG = "deep/" * 60
LINK = member("a/out", tarfile.SYMTYPE, "/etc")
HOSTILE: dict[str, list[Build]] = {
    "above": [member("../evil")],
    "above in the middle": [member("a/../../evil")],
    "absolute": [member("/etc/passwd")],
    "above with a long name": [member("../" * 60 + "evil")],
    "absolute with a long name": [member("/" + LONG + "evil")],
    "through a link": [member("out", tarfile.SYMTYPE, "/etc"), member("out/passwd", data=b"x")],
    "through a link under another spelling": [member("./out", tarfile.SYMTYPE, ".."), member("out/./x/../y")],
    "a link in the place of a directory": [member("out", tarfile.DIRTYPE), member("out", tarfile.SYMTYPE, "/etc")],
    "a file in the place of a directory above": [member("a/b/out", tarfile.DIRTYPE), member("a/b", data=b"x")],
    "a hard link out": [member("x", tarfile.LNKTYPE, "/etc/shadow")],
    "a hard link above": [member("x", tarfile.LNKTYPE, "../../etc/shadow")],
    "the directory itself as a link": [member("./", tarfile.SYMTYPE, "/etc")],
    "the directory itself as a link that leads above": [member("a/..", tarfile.SYMTYPE, "../../etc")],
    "through a link that leads above": [member("out", tarfile.SYMTYPE, "../../x"), member("out/f", data=b"x")],
    "a hard link to a link that leads above": [
        member("out", tarfile.SYMTYPE, "../../x"),
        member("x", tarfile.LNKTYPE, "out"),
    ],
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
        b"".join(joined([path], Place(owner)))


AWAY: dict[str, tuple[str, list[Build]]] = {
    "a file": ("out", [member("out/passwd", data=b"x")]),
    "a file under another spelling": ("out", [member("./out/./x/../passwd", data=b"x")]),
    "a directory": ("out", [member("out/d", tarfile.DIRTYPE)]),
    "another link": ("out", [member("out/l", tarfile.SYMTYPE, "/tmp")]),
    "a link that leads above": ("out", [member("out/l", tarfile.SYMTYPE, "../../../..")]),
    "a link deeper down": ("a/b/out", [member("a/b/out/c/passwd", data=b"x")]),
    "a hard link": ("out", [member("f", data=b"x"), member("out/h", tarfile.LNKTYPE, "f")]),
    "a hard link to what is there": ("out", [member("h", tarfile.LNKTYPE, "out/shadow")]),
}


@pytest.mark.parametrize("target", ["/etc", "../../../etc", "f"])
@pytest.mark.parametrize("owner", OWNERS)
@pytest.mark.parametrize("name", AWAY)
def test_a_directory_takes_the_place_of_a_link_that_the_next_archive_would_go_through(
    tmp_path: Path, name: str, owner: Owner, target: str
) -> None:
    link, members = AWAY[name]
    first = archive(tmp_path / "1.tar.gz", member(link, tarfile.SYMTYPE, target))
    second = archive(tmp_path / "2.tar.gz", *members)
    place = Place(owner)
    there: dict[str, bytes] = {}
    with tarfile.open(fileobj=io.BytesIO(b"".join(joined([first, second], place)))) as tar:
        for info in tar:
            path = posixpath.normpath(info.name)
            for each in (path, posixpath.normpath(info.linkname)) if info.islnk() else (path,):
                above = posixpath.dirname(each)
                while above:
                    assert there.get(above) != tarfile.SYMTYPE, f"{each} is unpacked through the link {above}"
                    above = posixpath.dirname(above)
            there[path] = info.type
    assert there.get(link) != tarfile.SYMTYPE
    with tarfile.open(fileobj=io.BytesIO(b"".join(place.leaving.archive("/builds/p", owner)))) as tar:
        assert [info.name for info in tar] == ["builds/p/out/l"] * (name == "a link that leads above")


@pytest.mark.parametrize("owner", OWNERS)
def test_a_hard_link_to_a_link_of_an_earlier_archive_is_refused(tmp_path: Path, owner: Owner) -> None:
    for target in ("/etc/shadow", "../../etc/shadow"):
        first = archive(tmp_path / "1.tar.gz", member("out", tarfile.SYMTYPE, target))
        second = archive(tmp_path / "2.tar.gz", member("x", tarfile.LNKTYPE, "out"))
        with pytest.raises(BadArchive, match="link to a symbolic link"):
            b"".join(joined([first, second], Place(owner)))


@pytest.mark.parametrize("owner", OWNERS)
@pytest.mark.parametrize(
    "other",
    [LINK, member("a/out", data=b"x"), member("a", tarfile.SYMTYPE, "../../x")],
    ids=["link", "file", "link that leads above"],
)
def test_an_archive_that_replaces_a_directory_of_another_is_not_unpacked_together_with_it(
    tmp_path: Path, owner: Owner, other: Build
) -> None:
    """Docker sets the times of all directories of an archive at its end, through whatever is there then."""
    first = archive(tmp_path / "1.tar.gz", member("a/out/sub", tarfile.DIRTYPE))
    second = archive(tmp_path / "2.tar.gz", other)
    with pytest.raises(Clash):
        b"".join(joined([first, second], Place(owner)))
    place = Place(owner)
    for each in (first, second):
        b"".join(joined([each], place))
    third = archive(tmp_path / "3.tar.gz", member("a/out/passwd", data=b"x"))
    if other is LINK:
        with tarfile.open(fileobj=io.BytesIO(b"".join(joined([third], place)))) as tar:
            assert tar.getmember("a/out").isdir()


@pytest.mark.parametrize("owner", OWNERS)
def test_more_members_or_bytes_than_the_bounds_are_refused(
    tmp_path: Path, owner: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = archive(tmp_path / "a.tar.gz", *(member(f"f{number}", data=b"x" * 1000) for number in range(20)))
    assert b"".join(joined([path], Place(owner)))
    monkeypatch.setattr(archive_guard, "MOST_MEMBERS", 19)
    with pytest.raises(BadArchive, match="more than 19 members"):
        b"".join(joined([path], Place(owner)))
    monkeypatch.setattr(archive_guard, "MOST_MEMBERS", 100)
    monkeypatch.setattr(archive_guard, "MOST_BYTES", 10_000)
    with pytest.raises(BadArchive, match="it unpacks to more"):
        b"".join(joined([path], Place(owner)))


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
    place = Place(owner)
    with tarfile.open(fileobj=io.BytesIO(b"".join(joined([path], place)))) as tar:
        found = {info.name: info.linkname for info in tar if info.name.rpartition("/")[2] not in ("deep", "")}
    assert found["bin/python"] == "/usr/bin/python3"
    assert found["long"] == LONG + "x"
    assert {LONG + "file", "\N{SNOWMAN} name", "again"} <= found.keys()
    with tarfile.open(fileobj=io.BytesIO(b"".join(place.leaving.archive("/builds/p", owner)))) as tar:
        assert {info.name: (info.linkname, info.uid) for info in tar} == {"builds/p/up": ("../../elsewhere", owner.uid)}


@pytest.mark.parametrize("owner", OWNERS)
@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_a_tar_that_is_opened_loses_nothing_but_its_modes(tmp_path: Path, owner: Owner, form: int) -> None:
    path = archive(
        tmp_path / "a.tar",
        member("a/b/run", data=b"1", mode=0o711),
        member(LONG + "file", data=b"2" * 600, mode=0o600),
        member("\N{SNOWMAN} name", data=b"3"),
        member("again", tarfile.LNKTYPE, "a/b/run"),
        member("up", tarfile.SYMTYPE, "a/up"),
        form=form,
    )
    with tarfile.open(fileobj=io.BytesIO(b"".join(joined([path], Place(owner, opened=True))))) as tar:
        modes = {info.name: info.mode for info in tar if not info.islnk() and not info.issym()}
        names = tar.getnames()
        assert tar.extractfile(LONG + "file").read() == b"2" * 600
    directories = {name for name in modes if modes[name] == 0o777} - {"a/b/run"}
    assert directories >= {".", "a", "a/b", LONG.rstrip("/")}
    assert (modes["a/b/run"], modes[LONG + "file"], modes["\N{SNOWMAN} name"]) == (0o777, 0o666, 0o666)
    assert len(names) == len(set(names))
    assert {"again", "up"} <= set(names)


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
        unpacked = b"".join(joined([path], Place(owner)))
    except BadArchive:
        return
    try:
        with tarfile.open(fileobj=io.BytesIO(unpacked)) as tar:
            names = [info.name for info in tar]
    except tarfile.TarError:
        return
    assert not [name for name in names if name.startswith(("/", "../"))]
