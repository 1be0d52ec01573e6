"""What was written is there after any crash: of the process, of the machine, in the middle of a record or of a lap."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coordinator.files import journal
from coordinator.files.journal import Journal, Write

NAMES = ("0/1.1.job.log", "0/2.1.job.log", "1/1000.1.job.log")


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "JOURNAL_BYTES", 2000)


def put(opened: Journal, directory: Path, writes: list[Write]) -> None:
    """What a caller does: the files first, then the journal."""
    for write in writes:
        target = directory / write.path
        target.parent.mkdir(exist_ok=True)
        with target.open("r+b" if target.exists() else "xb") as file:
            file.seek(write.offset)
            file.write(write.data)
    opened.write(writes)


def appended(contents: dict[str, bytes], name: str, data: bytes) -> Write:
    """The write that appends to a file."""
    before = contents.get(name, b"")
    contents[name] = before + data
    return Write(name, len(before), data)


pieces = st.lists(st.tuples(st.sampled_from(NAMES), st.binary(min_size=1, max_size=60)), min_size=1, max_size=12)


@settings(max_examples=60, deadline=None)
@given(turns=st.lists(pieces, min_size=1, max_size=12), cut=st.integers(0, 60))
def test_a_power_cut_takes_nothing_that_was_written_since_the_files_were_synced(
    tmp_path_factory: pytest.TempPathFactory, turns: list[list[tuple[str, bytes]]], cut: int
) -> None:
    directory = tmp_path_factory.mktemp("journal")
    opened = Journal(directory)
    contents: dict[str, bytes] = {}
    synced: dict[str, int] = {}
    for turn in turns:
        before = {name: len(data) for name, data in contents.items()}
        number = opened.lap
        put(opened, directory, [appended(contents, name, data) for name, data in turn])
        if opened.lap != number:
            synced = before  # a lap ended in between; the one before it is on the disk by now, or in the other file
    for name, data in contents.items():
        if name not in synced:
            (directory / name).unlink()
        elif len(data) > synced[name]:
            os.truncate(directory / name, max(synced[name], len(data) - cut))
    Journal(directory)
    assert {name: (directory / name).read_bytes() for name in contents} == contents


@settings(max_examples=60, deadline=None)
@given(turn=pieces, at=st.integers(0, 1999), value=st.integers(0, 255))
def test_of_a_damaged_journal_the_records_before_the_damage_are_taken_and_no_wrong_byte(
    tmp_path_factory: pytest.TempPathFactory, turn: list[tuple[str, bytes]], at: int, value: int
) -> None:
    directory = tmp_path_factory.mktemp("journal")
    opened = Journal(directory)
    contents: dict[str, bytes] = {}
    put(opened, directory, [appended(contents, name, data) for name, data in turn])
    for name in contents:
        (directory / name).unlink()
    whole = (directory / "journal-1").read_bytes()
    spared, end = dict.fromkeys(contents, b""), 0
    for name, data in turn:
        end += journal.HEADER.size + len(name) + len(data)
        if at < end and whole[at] != value:
            break
        spared[name] += data
    with (directory / "journal-1").open("r+b") as file:
        file.seek(at)
        file.write(bytes([value]))
    Journal(directory)
    found = {name: (directory / name).read_bytes() if (directory / name).exists() else b"" for name in contents}
    assert found == spared


def test_a_process_that_is_killed_in_any_lap_leaves_all_bytes(tmp_path: Path) -> None:
    opened = Journal(tmp_path)
    contents: dict[str, bytes] = {}
    for number in range(200):
        put(opened, tmp_path, [appended(contents, NAMES[number % 3], b"%5d" % number * 10)])
    assert opened.lap > 5
    Journal(tmp_path)
    assert {name: (tmp_path / name).read_bytes() for name in contents} == contents


def test_a_closed_journal_has_nothing_to_recover(tmp_path: Path) -> None:
    opened = Journal(tmp_path)
    contents: dict[str, bytes] = {}
    put(opened, tmp_path, [appended(contents, NAMES[0], b"0123456789")])
    opened.close()
    os.truncate(tmp_path / NAMES[0], 4)
    Journal(tmp_path).close()
    assert (tmp_path / NAMES[0]).read_bytes() == b"0123"


def test_a_file_that_was_removed_does_not_hold_up_a_lap(tmp_path: Path) -> None:
    opened = Journal(tmp_path)
    contents: dict[str, bytes] = {}
    put(opened, tmp_path, [appended(contents, NAMES[0], b"x" * 100)])
    (tmp_path / NAMES[0]).unlink()
    for _ in range(60):
        put(opened, tmp_path, [appended(contents, NAMES[1], b"y" * 100)])
    opened.close()
    assert (tmp_path / NAMES[1]).read_bytes() == contents[NAMES[1]]


def test_a_disk_that_fails_for_a_while_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = Journal(tmp_path)
    contents: dict[str, bytes] = {}
    real, failing = os.fdatasync, [0]

    def fdatasync(descriptor: int) -> None:
        if failing[0]:
            failing[0] -= 1
            raise OSError(5, "the disk fails")
        real(descriptor)

    monkeypatch.setattr(os, "fdatasync", fdatasync)
    failures = 0
    for number in range(120):
        failing[0] = 2 if number % 10 == 0 else 0
        write = appended(contents, NAMES[number % 2], b"%3d" % number * 10)
        for _ in range(4):
            try:
                put(opened, tmp_path, [write])
                break
            except OSError:
                failures += 1
        else:
            pytest.fail("it never came right")
    assert failures >= 12
    opened.close()
    assert {name: (tmp_path / name).read_bytes() for name in contents} == contents
