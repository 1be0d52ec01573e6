"""The index of a log: a file beside it with the times of its bytes, in pages (`protocol.log_times`).

It is written after the log's bytes and never synced, so it is durable no earlier than they are, and may end before them
or be torn after a crash. Such a rest is cut off by the next writer and ignored by readers: lines without a time of
their own have the time of the line before.
"""

from __future__ import annotations

import os
from contextlib import suppress

from protocol.log_times import PAGE_BYTES, PAGE_HEAD, IndexEnd, Mark, first_mark, marks_of_page

MOST_PAGES = 64
"""Maximum pages of one answer: more times than fit into it are left out."""


def open_end(path: str, log_size: int) -> IndexEnd:
    """The end of an index before its next mark, after the last one of a log of this size. Cuts off the rest."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return IndexEnd()
    try:
        end = _end(descriptor, log_size)
        if end.size != os.fstat(descriptor).st_size:
            os.ftruncate(descriptor, end.size)
        return end
    finally:
        os.close(descriptor)


def _end(descriptor: int, log_size: int) -> IndexEnd:
    pages = _page_count(descriptor)
    known = 0  # pages in order, without a torn one between them
    before = -1
    while known < pages and (first := _first_mark(descriptor, known)) and before < first.offset < log_size:
        before = first.offset
        known += 1
    if not known:
        return IndexEnd()
    start = (known - 1) * PAGE_BYTES
    page = os.pread(descriptor, PAGE_BYTES, start)
    last, used = max((each, end) for each, end in marks_of_page(page) if each.offset < log_size)
    return IndexEnd(start + used, last)


def pages_of(path: str, start: int, end: int) -> bytes:
    """The pages with the marks of a log's bytes from `start` to `end`, at most MOST_PAGES."""
    with suppress(FileNotFoundError):
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            first, count = _page_at(descriptor, start), 1
            while count < MOST_PAGES and (mark := _first_mark(descriptor, first + count)) and mark.offset < end:
                count += 1
            return os.pread(descriptor, count * PAGE_BYTES, first * PAGE_BYTES)
        finally:
            os.close(descriptor)
    return b""


def first_since(path: str, at: int) -> int | None:
    """The offset of the first byte that was read at this time (milliseconds since 1970) or later; None: there is none.

    Reads the beginning of every page: the clock may have been set back.
    """
    with suppress(FileNotFoundError):
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            count = _page_count(descriptor)
            for page in range(count):
                following = _first_mark(descriptor, page + 1) if page + 1 < count else None
                if following is not None and following.at < at:
                    continue
                for mark, _ in marks_of_page(os.pread(descriptor, PAGE_BYTES, page * PAGE_BYTES)):
                    if mark.at >= at:
                        return mark.offset
        finally:
            os.close(descriptor)
    return None


def _page_at(descriptor: int, offset: int) -> int:
    """The last page that begins at a byte of the log or before it; the first one, if there is none."""
    low, high = 0, _page_count(descriptor)
    while high - low > 1:
        middle = (low + high) // 2
        mark = _first_mark(descriptor, middle)
        if mark is not None and mark.offset <= offset:
            low = middle
        else:
            high = middle
    return low


def _page_count(descriptor: int) -> int:
    return -(-os.fstat(descriptor).st_size // PAGE_BYTES)


def _first_mark(descriptor: int, page: int) -> Mark | None:
    return first_mark(os.pread(descriptor, PAGE_HEAD.size, page * PAGE_BYTES))
