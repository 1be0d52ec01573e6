"""Packs messages into frames and back, with every bound in one place. Pure: no sockets.

`decode` accepts nothing that is not exactly one known, complete, well-typed message within the limits, and raises
`ProtocolError` naming what is wrong.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from threading import Lock
from typing import Any, get_args

import msgpack
import msgspec

from protocol import admin
from protocol.errors import ProtocolError
from protocol.events import AnyEvent
from protocol.messages import PAYLOAD_TYPES, Message, ToClient, ToCoordinator, ToWorker

MAX_MAP_BYTES = 16 << 20
"""Largest msgpack map: a plan of some thousand jobs is the largest that is sent."""
MAX_PAYLOAD_BYTES = 4 << 20
"""Largest raw frame: log chunks and blob pieces are cut to less."""
MAX_FRAMES = 2
CHUNK_BYTES = 1 << 20
"""What senders cut logs and blobs to."""
REQUEST_HEAD_BYTES = 256
"""Within so many bytes of its start a request has its `id`, the first of its fields."""
LARGEST_INTEGER = (1 << 63) - 1
"""Every database keeps integers of this size."""


def encode(message: msgspec.Struct, payload: bytes | memoryview | None = None) -> list[bytes | memoryview]:
    """The frames of one message (or event, without its topic)."""
    packed = msgspec.msgpack.encode(message)
    return [packed] if payload is None else [packed, payload]


def _by_tag(union: Any) -> dict[str, type[msgspec.Struct]]:
    """The types of a union by their tags: one look-up here saves msgspec from taking the union apart each time."""
    return {str(kind.__struct_config__.tag): kind for kind in get_args(union)}


TO_COORDINATOR = _by_tag(ToCoordinator | admin.ToCoordinator)
TO_WORKER = _by_tag(ToWorker)
TO_CLIENT = _by_tag(ToClient | admin.ToClient)
EVENTS = _by_tag(AnyEvent)


def _unpack(
    frames: Sequence[bytes | memoryview], wanted: dict[str, type[msgspec.Struct]]
) -> tuple[Any, bytes | memoryview]:
    if not 1 <= len(frames) <= MAX_FRAMES:
        raise ProtocolError("bad_frame", f"a message has 1 or {MAX_FRAMES} frames, not {len(frames)}")
    head = frames[0]
    if len(head) > MAX_MAP_BYTES:
        raise ProtocolError("too_large", f"a message map has at most {MAX_MAP_BYTES} bytes, not {len(head)}")
    payload = frames[1] if len(frames) > 1 else b""
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise ProtocolError("too_large", f"a payload has at most {MAX_PAYLOAD_BYTES} bytes, not {len(payload)}")
    try:
        data = msgpack.unpackb(head, raw=False, strict_map_key=True)
    except Exception as error:  # msgpack raises a whole family, with no common base that is public
        raise ProtocolError("bad_frame", f"not a msgpack map: {error}") from error
    if not isinstance(data, dict):
        raise ProtocolError("bad_frame", f"a message is a msgpack map, not {type(data).__name__}")
    _check_numbers(data)
    tag = data.get("type")
    kind = wanted.get(tag) if isinstance(tag, str) else None
    if kind is None:
        raise ProtocolError("unknown_type", f"no message type {tag!r:.100} here")
    try:
        return _convert(data, kind), payload
    except msgspec.ValidationError as error:
        raise ProtocolError("bad_field", f"{tag!r}: {error}") from error
    except RecursionError as error:
        raise ProtocolError("bad_frame", "nested too deeply") from error


def _convert(data: dict[str, Any], kind: type[msgspec.Struct]) -> msgspec.Struct:
    """The message. msgspec finds out what a type is made of when it first sees it, and is not thread-safe in that:
    another thread that sees the half of it ends the process.
    """
    if kind in _seen:
        return msgspec.convert(data, kind)
    with _first_sight:
        try:
            return msgspec.convert(data, kind)
        finally:
            _seen.add(kind)


def _check_numbers(data: dict[Any, Any]) -> None:
    """Refuses numbers that can't be kept or compared, wherever they are."""
    rest: list[Any] = [data.values()]
    while rest:
        for value in rest.pop():
            if isinstance(value, float):
                if not math.isfinite(value):
                    raise ProtocolError("bad_field", f"{data.get('type')!r}: {value} is no number to work with")
            elif isinstance(value, int):
                if not -LARGEST_INTEGER <= value <= LARGEST_INTEGER:
                    raise ProtocolError("bad_field", f"{data.get('type')!r}: {value} has more than 63 bits")
            elif isinstance(value, dict):
                rest.append(value.values())
            elif isinstance(value, list):
                rest.append(value)


_first_sight = Lock()
_seen: set[type[msgspec.Struct]] = set()


def request_id(frames: Sequence[bytes | memoryview]) -> int | None:
    """The `id` of a request that could not be decoded, as far as there is one: so that its error finds its sender."""
    try:
        unpacker = msgpack.Unpacker(raw=False)
        unpacker.feed(frames[0][:REQUEST_HEAD_BYTES])
        for _ in range(unpacker.read_map_header()):
            key, value = unpacker.unpack(), unpacker.unpack()
            if key == "id":
                return value if type(value) is int and 0 <= value <= LARGEST_INTEGER else None
    except Exception:  # whatever is wrong with it was told already
        pass
    return None


def _decode(
    frames: Sequence[bytes | memoryview], wanted: dict[str, type[msgspec.Struct]]
) -> tuple[Any, bytes | memoryview]:
    message, payload = _unpack(frames, wanted)
    if len(frames) > 1 and not isinstance(message, PAYLOAD_TYPES):
        raise ProtocolError("bad_frame", f"{type(message).__name__} has no payload frame")
    return message, payload


def decode_for_coordinator(frames: Sequence[bytes | memoryview]) -> tuple[Message, bytes | memoryview]:
    """A message that a worker or client sent. Raises ProtocolError."""
    return _decode(frames, TO_COORDINATOR)


def decode_for_worker(frames: Sequence[bytes | memoryview]) -> tuple[Message, bytes | memoryview]:
    """A message that the coordinator sent to a worker. Raises ProtocolError."""
    return _decode(frames, TO_WORKER)


def decode_for_client(frames: Sequence[bytes | memoryview]) -> tuple[Message, bytes | memoryview]:
    """A message that the coordinator sent to a client. Raises ProtocolError."""
    return _decode(frames, TO_CLIENT)


def decode_event(frames: Sequence[bytes | memoryview]) -> tuple[AnyEvent, bytes | memoryview]:
    """An event of the feed, its topic frame already taken off. Raises ProtocolError."""
    return _unpack(frames, EVENTS)
