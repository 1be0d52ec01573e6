"""A log's document: whatever order its bytes come in, it shows the log's lines."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.views import SECTION_LOG
from tui.log import document as document_module
from tui.log import page as page_module
from tui.log.document import Document, Position
from tui.log.page import PAGE_BYTES
from tui.log.search import Search
from tui.log.text import plain


def load(document: Document, log: bytes, index: int) -> None:
    """What the log source does for a page that is wanted."""
    start, end = document.extent(index)
    document.load(index, log[start:end], log[start - 1 : start] if start else b"")


def opened(log: bytes, *, complete: bool = True) -> Document:
    """A document of which every page is known."""
    document = Document()
    document.set_size(len(log), complete)
    for index in range(document.page_count):
        load(document, log, index)
    return document


def rows_of(document: Document, width: int = 0) -> list[str]:
    """The text of every row's line, each line once."""
    for index in range(document.page_count):
        document.lay_out(width, Position(index, 0))
    shown: list[str] = []
    last: Position | None = None
    for row in range(document.rows):
        place = document.place(row)
        assert place.known
        if place.position != last:
            shown.append(plain(document.line_bytes(place.position)))
            last = place.position
    return shown


def lines_of(log: bytes) -> list[str]:
    """What the rows have to show."""
    pieces = log.split(b"\n")
    if pieces[-1] == b"":
        pieces.pop()
    return [plain(piece) for piece in pieces]


LINES = st.lists(st.binary(max_size=30).map(lambda data: data.replace(b"\x1b", b"e")), max_size=60)


@settings(max_examples=150, deadline=None)
@given(lines=LINES, ends=st.booleans(), data=st.data())
def test_live_bytes_and_fetched_pages_in_any_order_give_the_logs_lines(
    lines: list[bytes], ends: bool, data: st.DataObject
) -> None:
    log = b"\n".join(lines) + (b"\n" if ends else b"")
    with small_pages(64):
        document = Document()
        known = data.draw(st.integers(0, len(log)), label="stored when it was opened")
        document.set_size(known, False)
        at = known
        while at < len(log):
            if document.page_count and data.draw(st.booleans(), label="fetch a page"):
                index = data.draw(st.integers(0, document.page_count - 1), label="page")
                load(document, log[:at], index)
            skipped = data.draw(st.sampled_from([0, 0, 0, 7, 100]), label="lost on the feed")
            until = data.draw(st.integers(1, 90), label="chunk")
            chunk = log[at + skipped : at + skipped + until]
            if chunk:
                document.append(at + skipped, chunk)
            at = min(len(log), at + skipped + until)
        document.set_size(len(log), True)
        for index in range(document.page_count):
            if not document.is_whole(index):
                load(document, log, index)
        assert rows_of(document) == lines_of(log)
        assert document.lines == (len(lines_of(log)), True)


@contextmanager
def small_pages(size: int) -> Iterator[None]:
    """Pages of a few bytes, so that small logs have many."""
    with patch.object(page_module, "PAGE_BYTES", size), patch.object(document_module, "PAGE_BYTES", size):
        yield


def test_a_log_is_opened_at_its_end_without_its_beginning() -> None:
    log = b"".join(b"line %07d\n" % number for number in range(100_000))
    document = Document()
    document.set_size(len(log), True)
    wanted = document.wanted(document.rows - 20, 20)
    assert wanted == [document.page_count - 1]
    load(document, log, wanted[0])
    place = document.place(document.rows - 1)
    assert document.line_bytes(place.position) == b"line 0099999"
    lines, exact = document.lines
    assert not exact
    assert abs(lines - 100_000) < 1000


def test_a_million_lines_take_no_more_memory_than_a_few_pages() -> None:
    log = b"".join(b"%06d some output of a build that goes on and on\n" % n for n in range(1_000_000))
    document = Document()
    document.set_size(len(log), True)
    for index in range(document.page_count):
        load(document, log, index)
    kept = sum(document._pages[index].data is not None for index in range(document.page_count))
    assert kept <= document_module.KEPT_PAGES
    assert document.lines == (1_000_000, True)
    assert document.rows == 1_000_000


def test_pages_on_the_screen_are_kept_while_others_are_searched() -> None:
    log = b"".join(b"%06d some output of a build that goes on and on\n" % n for n in range(1_000_000))
    document = Document()
    document.set_size(len(log), True)
    shown = document.wanted(0, 50)
    for index in (*shown, *range(document.page_count)):
        load(document, log, index)
    assert document.wanted(0, 50) == []


def test_a_line_over_a_pages_edge_is_whole() -> None:
    log = b"x" * (PAGE_BYTES - 3) + b"\n" + b"over the edge" + b"\nlast\n"
    assert rows_of(opened(log))[1:] == ["over the edge", "last"]


def test_the_place_stays_when_pages_before_it_become_known() -> None:
    log = b"".join(b"%d\n" % n if n % 3 else b"%d %s\n" % (n, b"x" * 200) for n in range(40_000))
    document = Document()
    document.set_size(len(log), True)
    last = document.page_count - 1
    load(document, log, last)
    position = document.place(document.rows - 30).position
    text = document.line_bytes(position)
    load(document, log, 0)
    load(document, log, 1)
    assert document.line_bytes(document.place(document.row(position)).position) == text


def test_wrapped_lines_take_the_rows_that_their_cells_need() -> None:
    document = opened("short\n1234567890\n12345678901\n日本語日本語\n\n".encode())
    document.lay_out(10, None)
    shown = [(document.place(row).position.line, document.place(row).part) for row in range(document.rows)]
    assert shown == [(0, 0), (1, 0), (2, 0), (2, 1), (3, 0), (3, 1), (4, 0)]


def test_a_growing_line_is_wrapped_anew() -> None:
    document = Document()
    document.lay_out(10, None)
    document.append(0, b"12345")
    document.lay_out(10, None)
    assert document.rows == 1
    document.append(5, b"67890123")
    assert document.rows == 2
    document.append(13, b"\nnext")
    assert document.rows == 3


def test_sections_fold_and_unfold_and_some_are_folded_from_the_start() -> None:
    document = opened(SECTION_LOG)
    assert rows_of(document) == ["before", "Outer header", "one", "Inner header", "three", "after"]
    outer, inner = document.sections
    assert (outer.title, outer.seconds, inner.title, inner.seconds) == ("Outer header", 10, "Inner header", 2)
    document.fold([inner], False)
    assert rows_of(document) == ["before", "Outer header", "one", "Inner header", "two", "three", "after"]
    document.fold([outer], True)
    assert rows_of(document) == ["before", "Outer header", "after"]
    document.reveal(Position(0, 4))
    assert "two" in rows_of(document)


def test_a_section_that_is_still_open_hides_what_comes_while_it_is_folded() -> None:
    document = Document()
    document.append(0, b"section_start:1:a\r\x1b[0KHeader\none\n")
    document.fold(document.sections, True)
    document.append(document.size, b"two\nthree\n")
    assert rows_of(document) == ["Header"]
    document.append(document.size, b"section_end:9:a\r\x1b[0K\nafter\n")
    assert rows_of(document) == ["Header", "after"]


def test_an_end_and_a_start_on_one_line_keep_the_second_header() -> None:
    log = b"section_start:1:a\r\x1b[0KFirst\none\nsection_end:2:a\r\x1b[0Ksection_start:2:b\r\x1b[0KSecond\ntwo\n"
    document = opened(log)
    document.fold(document.sections, True)
    assert rows_of(document) == ["First", "Second"]


def test_colours_go_on_over_lines_until_they_are_reset() -> None:
    document = opened(b"\x1b[31mred\nstill red\x1b[0m\nplain\n\x1b[1m\x1b[32mbold\nand green\n")
    carried = [document.carried_into(Position(0, line)) for line in range(5)]
    assert carried == ["", "\x1b[31m", "", "", "\x1b[1m\x1b[32m"]


def test_a_colour_that_is_cut_between_two_chunks_is_seen() -> None:
    document = Document()
    document.append(0, b"a \x1b[3")
    document.append(document.size, b"1m b\nred\n")
    assert document.carried_into(Position(0, 1)) == "\x1b[31m"


def test_a_search_counts_lines_and_goes_around() -> None:
    log = b"".join(b"needle %d\n" % n if n % 20_000 == 5 else b"hay hay hay hay\n" for n in range(100_000))
    document = opened(log)
    search = Search("needle")
    for index in range(document.page_count):
        start, end = document.extent(index)
        search.take(index, end - start, document.text_of(index))
    assert search.count == 5
    seen = []
    at = None
    for _ in range(6):
        at = search.next(at)
        assert at is not None
        seen.append((search.ordinal(at), plain(document.line_bytes(at)).split()[1]))
    assert seen == [(1, "5"), (2, "20005"), (3, "40005"), (4, "60005"), (5, "80005"), (1, "5")]
    assert search.next(at, backwards=True) != at
    assert search.ordinal(search.next(at, backwards=True)) == 5  # type: ignore[arg-type]


def test_a_search_sees_past_colours_and_over_a_pages_edge() -> None:
    log = b"x" * (PAGE_BYTES - 4) + b"\nne\x1b[1me\x1b[0mdle\n"
    document = opened(log)
    search = Search("needle")
    for index in range(document.page_count):
        start, end = document.extent(index)
        search.take(index, end - start, document.text_of(index))
    assert search.next(None) == Position(0, 1)


def test_capitals_in_a_search_count_only_if_there_are_some() -> None:
    assert Search("error").pattern.search("ERROR")
    assert not Search("Error").pattern.search("ERROR")


def test_the_first_error_is_no_count_of_none() -> None:
    quiet = b"$ make || echo ERROR\ncollected 10 tests\n0 errors, 0 failed\nno failures\n"
    document = opened(quiet + b"main.c:3: error: boom\nERROR: later\n")
    assert document.first_error(0) == Position(0, 4)
