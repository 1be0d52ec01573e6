"""Takes secrets out of what a job prints, before a byte of it leaves the worker. Pure.

What comes out is a function of the whole stream alone, whatever the pieces in which it arrives: so a log that is read
again after a restart has the same bytes at the same offsets. Of the end of a piece only what may be the beginning of a
secret is held back.
"""

from __future__ import annotations

import base64
import json
import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from urllib.parse import quote, quote_plus

from protocol.messages import Assignment

MASK = "[MASKED]"
"""GitLab's word."""
SHORTEST = 4
"""Bytes of a value, or of one of its lines: masking less would make a log unreadable and hide nothing."""
BASE64_WIDTHS = (76, 64)
"""Where tools break lines of base64: coreutils and MIME, and PEM."""
SHORTEST_BASE64 = 6
PATTERN_BYTES = 256 << 20
"""Memory that looking for the forms may take, at most; some secrets take a thousandth of it."""

Sink = Callable[[bytes], object]


def secrets_of(assignment: Assignment) -> list[str]:
    """The values that nobody is to see of an attempt."""
    layers = (
        assignment.predefined,
        assignment.variables,
        assignment.job.variables,
        *(service.variables for service in assignment.job.services),
        assignment.secrets,
        assignment.run_variables,
    )
    return [variable.value for layer in layers for variable in layer if variable.masked and variable.value]


class Masker:
    """What a set of secrets looks like, in all the forms that are looked for."""

    def __init__(self, secrets: Iterable[str]) -> None:
        forms = {form for secret in secrets for form in _forms(secret) if len(form) >= SHORTEST}
        self._sorted = sorted(forms)
        self._longest = max(map(len, forms), default=0)
        self._first = frozenset(form[0] for form in forms)
        self._pattern = _any_of(self._sorted) if forms else None

    def __bool__(self) -> bool:
        return self._pattern is not None

    def whole(self, data: bytes) -> bytes:
        """`data`, which is whole, without secrets."""
        return bytes(self._pattern.sub(MASK.encode(), data)) if self._pattern else data

    def text(self, text: str) -> str:
        """`text` without secrets."""
        return self.whole(text.encode(errors="surrogateescape")).decode(errors="replace") if self else text

    def hides(self, text: str) -> bool:
        """Whether there is a secret in `text`."""
        return self._pattern is not None and self._pattern.search(text.encode(errors="surrogateescape")) is not None

    def stream(self, sink: Sink) -> MaskedStream:
        """A stream whose pieces go on to `sink` without secrets."""
        return MaskedStream(self, sink)

    def split(self, data: bytes, *, last: bool) -> tuple[bytes, bytes]:
        """What of `data` is decided, without secrets, and the rest, which has to wait for more."""
        assert self._pattern is not None
        out: list[bytes] = []
        at = 0
        held = len(data) if last else self._undecided(data, at)
        while (found := self._pattern.search(data, at)) and found.start() < held:
            out += (data[at : found.start()], MASK.encode())
            at = found.end()
            if at > held:
                held = self._undecided(data, at)
        out.append(data[at:held])
        return b"".join(out), data[held:]

    def _undecided(self, data: bytes, start: int) -> int:
        """Where the first form may begin, at `start` or later, that `data` does not have the end of."""
        for at in range(max(start, len(data) - self._longest + 1), len(data)):
            if data[at] in self._first:
                tail = data[at:]
                near = bisect_left(self._sorted, tail)
                # a form that is just `tail` comes first; only those after it are longer
                if near < len(self._sorted) and self._sorted[near] == tail:
                    near += 1
                if near < len(self._sorted) and self._sorted[near].startswith(tail):
                    return at
        return len(data)


class MaskedStream:
    """One reading of a log, from its first byte on."""

    def __init__(self, masker: Masker, sink: Sink) -> None:
        self._masker = masker
        self._sink = sink
        self._held = b""

    def write(self, data: bytes) -> None:
        """The next bytes of the log."""
        self._pass(bytes(data), last=False)

    def close(self) -> None:
        """The log has ended."""
        self._pass(b"", last=True)

    def _pass(self, data: bytes, *, last: bool) -> None:
        out, self._held = self._masker.split(self._held + data, last=last)
        if out:
            self._sink(out)


def _any_of(forms: Iterable[bytes]) -> Any:
    """A pattern of all forms, of which the longest counts where several begin at one place."""
    import re2  # ten times faster than Python's at this; few jobs have secrets

    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1
    options.longest_match = True
    options.never_capture = True
    options.max_mem = PATTERN_BYTES
    return re2.compile(b"|".join(map(re2.escape, forms)), options)


def _forms(secret: str) -> Iterator[bytes]:
    """How a secret may come out: as it is, line by line, and as usual tools encode it."""
    stripped = secret.strip()
    for text in dict.fromkeys([secret, stripped, secret.replace("\n", "\r\n"), *map(str.strip, secret.splitlines())]):
        if len(text.encode()) < SHORTEST:
            continue
        yield text.encode()
        yield json.dumps(text)[1:-1].encode()
        yield json.dumps(text, ensure_ascii=False)[1:-1].encode()
        yield from _url_encoded(text)
    for text in dict.fromkeys([secret, stripped, secret + "\n"]):
        yield from _base64(text.encode())


def _url_encoded(text: str) -> Iterator[bytes]:
    for encoded in (quote(text, safe=""), quote(text), quote_plus(text), quote(text, safe="!~*'()")):
        yield encoded.encode()
        yield re.sub(r"%[0-9A-F]{2}", lambda match: match[0].lower(), encoded).encode()


def _base64(data: bytes) -> Iterator[bytes]:
    """The characters that `data` alone decides, wherever in an encoded text it begins; and broken into lines."""
    for before in range(3):
        encoded = base64.b64encode(bytes(before) + data)
        sure = encoded[-(-before * 4 // 3) : (before + len(data)) * 8 // 6]
        if len(sure) >= SHORTEST_BASE64:
            yield sure
            yield sure.translate(bytes.maketrans(b"+/", b"-_"))
    whole = base64.b64encode(data)
    for width in BASE64_WIDTHS:
        if len(whole) > width:
            lines = [whole[at : at + width] for at in range(0, len(whole), width)]
            yield b"\n".join(lines)
            yield from (line for line in lines if len(line) >= 2 * SHORTEST_BASE64)
