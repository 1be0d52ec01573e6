"""Packs messages into frames and back, with every bound in one place. Pure: no sockets.

`decode` accepts nothing that is not exactly one known, complete, well-typed message within the limits, and raises
`ProtocolError` naming what is wrong. What a coordinator is sent costs it little until it is known that the sender may
say so much: `kind_of` only skims a map, and most types have no room for anything that is dear to unpack.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from threading import Lock
from typing import Any, get_args

import msgpack
import msgspec

from protocol import admin
from protocol.errors import ProtocolError
from protocol.events import AnyEvent
from protocol.messages import (
    PAYLOAD_TYPES,
    Goodbye,
    Heartbeat,
    Hello,
    JobStatus,
    Message,
    Play,
    SubmitRun,
    ToClient,
    ToCoordinator,
    ToWorker,
)

MAX_MAP_BYTES = 16 << 20
"""Largest msgpack map: a plan of some thousand jobs is the largest that is sent."""
FLAT_MAP_BYTES = 64 << 10
"""Largest map of a message to the coordinator that has but words and numbers in it."""
NESTED_MAP_BYTES: dict[type[msgspec.Struct], int] = {
    SubmitRun: MAX_MAP_BYTES,
    Hello: 1 << 20,
    Heartbeat: 1 << 20,
    Goodbye: 1 << 20,
    JobStatus: 1 << 20,
    Play: 1 << 20,
    admin.SetSecret: 1 << 20,
    admin.CreateToken: FLAT_MAP_BYTES,
}
"""Largest maps of the others, which have lists: to unpack a list costs a thousand times as much as to skip it."""
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


def _by_tag(union: Any) -> dict[str, type[Any]]:
    """The types of a union by their tags: one look-up here saves msgspec from taking the union apart each time."""
    return {str(kind.__struct_config__.tag): kind for kind in get_args(union)}


TO_COORDINATOR = _by_tag(ToCoordinator | admin.ToCoordinator)
TO_WORKER = _by_tag(ToWorker)
TO_CLIENT = _by_tag(ToClient | admin.ToClient)
EVENTS = _by_tag(AnyEvent)


class _Head(msgspec.Struct):
    """What is looked at first of a message; all else is skipped."""

    type: msgspec.Raw = msgspec.Raw(b"\xc0")


_head = msgspec.msgpack.Decoder(_Head)
_word = msgspec.msgpack.Decoder(str)
NO_MESSAGE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What msgspec raises for bytes that are not what they should be."""


def kind_of(frames: Sequence[bytes | memoryview]) -> type[Message]:
    """The type of a message to the coordinator, found at next to no cost however large it is. Raises ProtocolError."""
    head, _ = _bounded(frames)
    try:
        told = _head.decode(head).type
    except NO_MESSAGE as error:
        raise ProtocolError("bad_frame", f"not a msgpack map: {error}") from error
    try:
        tag = _word.decode(told)
    except NO_MESSAGE:
        raise ProtocolError("unknown_type", "a message has a type, which is a word") from None
    kind: type[Message] | None = TO_COORDINATOR.get(tag)
    if kind is None:
        raise ProtocolError("unknown_type", f"no message type {tag!r:.100} here")
    if len(head) > (most := NESTED_MAP_BYTES.get(kind, FLAT_MAP_BYTES)):
        raise ProtocolError("too_large", f"the map of a {tag!r} has at most {most} bytes, not {len(head)}")
    return kind


def _bounded(frames: Sequence[bytes | memoryview]) -> tuple[bytes | memoryview, bytes | memoryview]:
    """The map and the payload (or none) of a message that is not larger than any. Raises ProtocolError."""
    if not 1 <= len(frames) <= MAX_FRAMES:
        raise ProtocolError("bad_frame", f"a message has 1 or {MAX_FRAMES} frames, not {len(frames)}")
    head = frames[0]
    if len(head) > MAX_MAP_BYTES:
        raise ProtocolError("too_large", f"a message map has at most {MAX_MAP_BYTES} bytes, not {len(head)}")
    payload = frames[1] if len(frames) > 1 else b""
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise ProtocolError("too_large", f"a payload has at most {MAX_PAYLOAD_BYTES} bytes, not {len(payload)}")
    return head, payload


def _unpack(
    frames: Sequence[bytes | memoryview], wanted: dict[str, type[msgspec.Struct]]
) -> tuple[Any, bytes | memoryview]:
    head, payload = _bounded(frames)
    try:
        data = msgpack.unpackb(head, raw=False, strict_map_key=True)
    except Exception as error:  # msgpack raises a whole family, with no common base that is public
        raise ProtocolError("bad_frame", f"not a msgpack map: {error}") from error
    if not isinstance(data, dict):
        raise ProtocolError("bad_frame", f"a message is a msgpack map, not {type(data).__name__}")
    tag = data.get("type")
    kind = wanted.get(tag) if isinstance(tag, str) else None
    if kind is None:
        raise ProtocolError("unknown_type", f"no message type {tag!r:.100} here")
    _check_numbers(tag, data.values())
    try:
        return _as_message(msgspec.convert, data, kind), payload
    except msgspec.ValidationError as error:
        raise ProtocolError("bad_field", f"{tag!r}: {error}") from error
    except RecursionError as error:
        raise ProtocolError("bad_frame", "nested too deeply") from error


def _unpack_flat(head: bytes | memoryview, kind: type[msgspec.Struct]) -> msgspec.Struct:
    """A message of which nothing but words and numbers is kept: whatever else is in the map is only skipped."""
    tag = kind.__struct_config__.tag
    try:
        message: msgspec.Struct = _as_message(msgspec.msgpack.decode, head, kind)
    except NO_MESSAGE as error:
        code = "bad_field" if isinstance(error, msgspec.ValidationError) else "bad_frame"
        raise ProtocolError(code, f"{tag!r}: {error}") from error
    _check_numbers(tag, msgspec.structs.astuple(message))
    return message


def _as_message(make: Callable[..., Any], data: Any, kind: type[msgspec.Struct]) -> Any:
    """What `make` makes of data. msgspec finds out what a type is made of when it first sees it, and is not thread-safe
    in that: another thread that sees the half of it ends the process.
    """
    if kind in _seen:
        return make(data, type=kind)
    with _first_sight:
        try:
            return make(data, type=kind)
        finally:
            _seen.add(kind)


def _check_numbers(tag: object, values: Iterable[Any]) -> None:
    """Refuses numbers that can't be kept or compared, wherever they are."""
    rest: list[Any] = [values]
    while rest:
        for value in rest.pop():
            if isinstance(value, float):
                if not math.isfinite(value):
                    raise ProtocolError("bad_field", f"{tag!r}: {value} is no number to work with")
            elif isinstance(value, int):
                if not -LARGEST_INTEGER <= value <= LARGEST_INTEGER:
                    raise ProtocolError("bad_field", f"{tag!r}: {value} has more than 63 bits")
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
    return _checked(_unpack(frames, wanted)[0], frames)


def _checked(message: Any, frames: Sequence[bytes | memoryview]) -> tuple[Any, bytes | memoryview]:
    """A message with its payload, if it is one that may have one."""
    if len(frames) > 1 and not isinstance(message, PAYLOAD_TYPES):
        raise ProtocolError("bad_frame", f"{type(message).__name__} has no payload frame")
    return message, frames[1] if len(frames) > 1 else b""


def decode_for_coordinator(frames: Sequence[bytes | memoryview]) -> tuple[Message, bytes | memoryview]:
    """A message that a worker or client sent. Raises ProtocolError."""
    kind = kind_of(frames)
    if kind in NESTED_MAP_BYTES:
        return _decode(frames, TO_COORDINATOR)
    return _checked(_unpack_flat(frames[0], kind), frames)


def decode_for_worker(frames: Sequence[bytes | memoryview]) -> tuple[Message, bytes | memoryview]:
    """A message that the coordinator sent to a worker. Raises ProtocolError."""
    return _decode(frames, TO_WORKER)


def decode_for_client(frames: Sequence[bytes | memoryview]) -> tuple[Message, bytes | memoryview]:
    """A message that the coordinator sent to a client. Raises ProtocolError."""
    return _decode(frames, TO_CLIENT)


def decode_event(frames: Sequence[bytes | memoryview]) -> tuple[AnyEvent, bytes | memoryview]:
    """An event of the feed, its topic frame already taken off. Raises ProtocolError."""
    return _unpack(frames, EVENTS)
