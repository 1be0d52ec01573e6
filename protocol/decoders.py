"""Decodes JSON and msgpack into types, in any thread. All of Longshore decodes here; ruff refuses msgspec's functions.

msgspec analyses a type when it first sees it, in Python code that lets other threads run. Another thread that decodes
the same type, or one within it, sees half of the result and crashes the process (SIGSEGV, seen with msgspec 0.22.0).
So one lock guards the making of decoders. Using one needs no lock; it also spares the analysis of types such as
`list[str]`, which msgspec repeats at each call.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")
_Decode = Callable[[Any], Any]

_from_json: dict[Any, _Decode] = {}
_from_msgpack: dict[Any, _Decode] = {}
_making = Lock()


def from_json(data: bytes | memoryview | str, kind: type[T]) -> T:
    """The value of a JSON text. Raises msgspec.MsgspecError."""
    value: T = _decode_of(kind, _from_json, msgspec.json.Decoder)(data)
    return value


def from_msgpack(data: bytes | memoryview, kind: type[T]) -> T:
    """The value of a msgpack object. Raises msgspec.MsgspecError."""
    value: T = _decode_of(kind, _from_msgpack, msgspec.msgpack.Decoder)(data)
    return value


def _decode_of(kind: Any, known: dict[Any, _Decode], make: Callable[[Any], Any]) -> _Decode:
    decode = known.get(kind)
    if decode is None:
        with _making:
            decode = known[kind] = make(kind).decode
    return decode
