"""What readers of report files share: the error of an unreadable file, and the text of a small one. Pure."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterable
from typing import BinaryIO

ReportFiles = Iterable[tuple[str, BinaryIO]]
"""Files as (name, stream); names are for messages."""


Mask = Callable[[str], str]
"""Masks secrets in a text. It comes before a text is cut: half a secret would not be found."""


class BadReport(Exception):
    """The file is not a report of its kind; the message says why."""


def read_each(files: ReportFiles, read: Callable[[BinaryIO], None]) -> list[str]:
    """Reads files; returns the reasons of those that `read` refuses with BadReport, which it must leave no trace of."""
    odd = []
    for name, stream in files:
        try:
            read(stream)
        except BadReport as error:
            odd.append(f"{name}: {error}")
    return odd


def decode_text(content: bytes) -> str:
    """A file's text: UTF-8, or UTF-16 as a Windows shell redirects."""
    wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return content.decode("utf-16" if wide else "utf-8", "replace").removeprefix("\ufeff")


def read_bounded(stream: BinaryIO, most: int) -> bytes:
    """The content of a file. Raises BadReport if it is empty or has more than `most` bytes."""
    content = stream.read(most + 1)
    if len(content) > most:
        raise BadReport(f"larger than {most} bytes")
    if not content.strip():
        raise BadReport("it is empty")
    return content
