"""Lines found in a stored log are those that one finds by reading all of it."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coordinator.files import line_search
from coordinator.files.line_search import Found, Search, StoredLog, end_of_lines, find_lines
from coordinator.files.log_store import LogStore
from protocol.log_lines import Line, LinePattern
from protocol.log_times import Mark

T = 1_700_000_000_000
LINES = st.lists(st.sampled_from([b"", b"a", b"ab\r", b"b" * 30, b"\xff\xfe a", "é a".encode(), b"\x1b[31ma\x1b[0mb"]))


def stored(logs: LogStore, *, whole: bool = True) -> StoredLog:
    return StoredLog(
        partial(logs.read, "1.1"), partial(logs.times, "1.1"), partial(logs.since, "1.1"), logs.stored("1.1"), whole
    )


def all_parts(log: StoredLog, search: Search) -> tuple[list[Line], list[Found]]:
    """All that a client finds that asks until it is done."""
    lines: list[Line] = []
    parts = []
    while True:
        parts.append(find_lines(log, search))
        lines = [*parts[-1].lines, *lines] if search.backwards else [*lines, *parts[-1].lines]
        if parts[-1].done:
            return lines, parts
        limit = None if search.limit is None else search.limit - len(parts[-1].lines)
        search = Search(search.pattern, parts[-1].next, search.backwards, search.since, limit)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces of few bytes, so that lines cross them."""
    for name, size in {"PIECE_BYTES": 16, "SEARCHED_BYTES": 40, "MOST_LINES": 3, "MOST_LINE_BYTES": 50}.items():
        monkeypatch.setattr(line_search, name, size)


@pytest.mark.usefixtures("small")
@settings(max_examples=200)
@given(
    lines=LINES,
    ends=st.booleans(),
    whole=st.booleans(),
    pattern=st.sampled_from(["", "a", "^$", "^ab", "a.?$", "é"]),
    since=st.none() | st.integers(0, 40),
    limit=st.none() | st.integers(1, 5),
)
def test_every_choice_of_lines_is_the_one_of_all_lines(
    tmp_path_factory: pytest.TempPathFactory,
    lines: list[bytes],
    ends: bool,
    whole: bool,
    pattern: str,
    since: int | None,
    limit: int | None,
) -> None:
    logs = LogStore(tmp_path_factory.mktemp("logs"))
    text = b"\n".join(lines) + (b"\n" if ends and lines else b"")
    for at in range(len(text)):
        logs.append("1.1", at, text[at : at + 1], marks=[Mark(at, T + at // 3)])
    logs.flush()
    log = stored(logs, whole=whole)

    starts = [0, *(found.end() for found in re.finditer(b"\n", text))]
    wanted = [Line(at, T + at // 3, text[at:].split(b"\n")[0]) for at in starts if at < len(text)]
    if not (whole or text.endswith(b"\n")):
        wanted = wanted[:-1]
    assert end_of_lines(log) == (len(text) if whole else text.rfind(b"\n") + 1)
    if since is not None:
        wanted = [line for line in wanted if (line.at or 0) >= T + since]
    wanted = [line for line in wanted if LinePattern(pattern).matches(line.text)]

    when = None if since is None else T + since
    found, _ = all_parts(log, Search(LinePattern(pattern), 0, since=when, limit=limit))
    assert found == (wanted[:limit] if limit else wanted)
    found, _ = all_parts(log, Search(LinePattern(pattern), end_of_lines(log), True, since=when, limit=limit))
    assert found == (wanted[-limit:] if limit else wanted)
    logs.close()


def test_a_part_of_a_search_reads_and_answers_a_bounded_amount(tmp_path: Path) -> None:
    logs = LogStore(tmp_path)
    log_bytes = b"".join(b"%09d\n" % number for number in range(2_000_000))
    logs.append("1.1", 0, log_bytes, marks=[Mark(0, T), Mark(10_000_000, T + 5000)])
    logs.flush()
    read: list[int] = []

    def counting(offset: int, length: int) -> bytes:
        read.append(length)
        return logs.read("1.1", offset, length)

    plain = stored(logs)
    log = StoredLog(counting, plain.times, plain.since, plain.size, plain.whole)
    lines, parts = all_parts(log, Search(LinePattern("99999$"), 0))
    assert [line.text for line in lines] == [b"%09d" % number for number in range(99_999, 2_000_000, 100_000)]
    assert {line.at for line in lines} == {T, T + 5000}
    assert len(parts) == 3
    assert sum(read) < 1.1 * len(log_bytes)

    read.clear()
    lines, parts = all_parts(log, Search(LinePattern(""), log.size, True, limit=3))
    assert [line.text for line in lines] == [b"001999997", b"001999998", b"001999999"]
    assert sum(read) < 1 << 20
    lines, parts = all_parts(log, Search(LinePattern(""), 0, since=T + 1))
    assert lines[0].text == b"001000000"
    assert len(lines) == 1_000_000
    assert max(len(part.lines) for part in parts) <= line_search.MOST_LINES
    logs.close()


def test_a_line_of_any_length_is_found(tmp_path: Path) -> None:
    logs = LogStore(tmp_path)
    text = b"first\n" + b"x" * 700_000 + b"end\nlast"
    logs.append("1.1", 0, text)
    logs.flush()
    for backwards in (False, True):
        lines, _ = all_parts(stored(logs), Search(LinePattern("end$"), len(text) * backwards, backwards))
        assert [(line.offset, line.at, len(line.text)) for line in lines] == [(6, None, 700_003)]
    logs.close()
