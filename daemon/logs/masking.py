"""Masks secrets in a job's output, before a byte of it leaves the worker. Pure.

The result depends on the whole stream alone, not on its division into pieces: a log that is read again after a restart
has the same bytes at the same offsets. Of a piece's end, only a possible beginning of a secret is held back.
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
"""GitLab's mask."""
SHORTEST = 4
"""Minimum bytes of a value, or of one of its lines: masking less would make a log unreadable and hide nothing."""
BASE64_WIDTHS = (76, 64)
"""Line widths of base64 output: coreutils and MIME, and PEM."""
SHORTEST_BASE64 = 6
PATTERN_BYTES = 256 << 20
"""Limit of the memory to search for the forms; some secrets take a thousandth of it."""

Sink = Callable[[bytes], object]


def secrets_of(assignment: Assignment) -> list[str]:
    """The secret values of an attempt."""
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
    """A set of secrets, in all the forms to search for."""

    def __init__(self, secrets: Iterable[str]) -> None:
        forms = {form for secret in secrets for form in _forms(secret) if len(form) >= SHORTEST}
        self._sorted = sorted(forms)
        self._longest = max(map(len, forms), default=0)
        self._first = frozenset(form[0] for form in forms)
        self._pattern = _any_of(self._sorted) if forms else None

    def __bool__(self) -> bool:
        return self._pattern is not None

    def whole(self, data: bytes) -> bytes:
        """`data`, a complete text, with secrets masked."""
        return bytes(self._pattern.sub(MASK.encode(), data)) if self._pattern else data

    def text(self, text: str) -> str:
        """`text` with secrets masked."""
        return self.whole(text.encode(errors="surrogateescape")).decode(errors="replace") if self else text

    def hides(self, text: str) -> bool:
        """Whether `text` contains a secret."""
        return self._pattern is not None and self._pattern.search(text.encode(errors="surrogateescape")) is not None

    def stream(self, sink: Sink) -> MaskedStream:
        """A stream that masks its pieces and passes them to `sink`."""
        return MaskedStream(self, sink)

    def split(self, data: bytes, *, last: bool) -> tuple[bytes, bytes]:
        """The decided part of `data`, masked, and the rest, which must wait for more data."""
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
        """Index, at `start` or later, where the first form without its end in `data` may begin."""
        for at in range(max(start, len(data) - self._longest + 1), len(data)):
            if data[at] in self._first:
                tail = data[at:]
                near = bisect_left(self._sorted, tail)
                # a form equal to `tail` sorts first; only later ones are longer
                if near < len(self._sorted) and self._sorted[near] == tail:
                    near += 1
                if near < len(self._sorted) and self._sorted[near].startswith(tail):
                    return at
        return len(data)


class MaskedStream:
    """One pass over a log, from its first byte."""

    def __init__(self, masker: Masker, sink: Sink) -> None:
        self._masker = masker
        self._sink = sink
        self._held = b""

    def write(self, data: bytes) -> None:
        """The next bytes of the log."""
        self._pass(bytes(data), last=False)

    def flush_short(self) -> None:
        """Passes on held bytes that are too few to say anything of a secret: somebody may be waiting for them."""
        if len(self._held) < SHORTEST:
            held, self._held = self._held, b""
            if held:
                self._sink(held)

    def close(self) -> None:
        """The log has ended."""
        self._pass(b"", last=True)

    def _pass(self, data: bytes, *, last: bool) -> None:
        out, self._held = self._masker.split(self._held + data, last=last)
        if out:
            self._sink(out)


def _any_of(forms: Iterable[bytes]) -> Any:
    """A pattern of all forms; the longest wins where several begin at one place."""
    import re2  # ten times faster than Python's here; few jobs have secrets

    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1
    options.longest_match = True
    options.never_capture = True
    options.max_mem = PATTERN_BYTES
    return re2.compile(b"|".join(map(re2.escape, forms)), options)


def _forms(secret: str) -> Iterator[bytes]:
    """Possible forms of a secret in output: as is, line by line, and in the common encodings."""
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
    """The characters determined by `data` alone, at any offset in an encoded text; and broken into lines."""
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
