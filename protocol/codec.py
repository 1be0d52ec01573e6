"""Encodes messages into frames and decodes them, with all size limits in one place. Pure: no sockets.

The decoders accept exactly one known, complete, well-typed message within the limits, and raise a `ProtocolError`
naming the problem. Messages cost the coordinator little before their sender's permission is checked: `kind_of` only
skims a map, and the limits of most types leave no room for structures that are expensive to unpack.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NoReturn, TypeVar, get_args

import msgpack
import msgspec

from protocol import admin
from protocol.decoders import from_msgpack
from protocol.errors import ProtocolError
from protocol.events import AnyEvent, Events
from protocol.messages import (
    PAYLOAD_TYPES,
    AddChannel,
    AddProject,
    AddSchedule,
    AddTrigger,
    Batch,
    ChangeProject,
    GetGoneWorkers,
    Goodbye,
    Heartbeat,
    Hello,
    JobStatus,
    JobStatuses,
    ListRuns,
    Message,
    OpenCommand,
    Play,
    Retry,
    SubmitRun,
    TakeTriggers,
    ToClient,
    ToCoordinator,
    ToWorker,
)

MAX_MAP_BYTES = 16 << 20
"""Largest msgpack map: a plan of some thousand jobs is the largest one sent."""
FLAT_MAP_BYTES = 64 << 10
"""Largest map of a message to the coordinator that contains only strings and numbers."""
NESTED_MAP_BYTES: dict[type[msgspec.Struct], int] = {
    SubmitRun: MAX_MAP_BYTES,
    Hello: 1 << 20,
    Heartbeat: 1 << 20,
    Goodbye: 1 << 20,
    JobStatus: 2 << 20,
    JobStatuses: 2 << 20,
    Play: 1 << 20,
    Retry: 1 << 20,
    GetGoneWorkers: 64 << 10,
    ListRuns: FLAT_MAP_BYTES,
    OpenCommand: 256 << 10,
    admin.SetSecret: 1 << 20,
    admin.CreateToken: FLAT_MAP_BYTES,
    AddProject: FLAT_MAP_BYTES,
    ChangeProject: FLAT_MAP_BYTES,
    AddTrigger: FLAT_MAP_BYTES,
    AddSchedule: FLAT_MAP_BYTES,
    AddChannel: FLAT_MAP_BYTES,
    TakeTriggers: FLAT_MAP_BYTES,
}
"""Largest maps of types with lists: unpacking a list costs a thousand times as much as skipping it."""
MAX_PAYLOAD_BYTES = 4 << 20
"""Largest raw frame; log chunks and blob pieces are cut to less."""
MAX_FRAMES = 2
REQUEST_HEAD_BYTES = 256
"""Bytes at the start of a request that contain its `id`, the first field."""
LARGEST_INTEGER = (1 << 63) - 1
"""Largest integer that every database can store."""


BATCH_BYTES = 1 << 20
"""Maximum size of a batch; a larger message is sent by itself."""

Bytes = bytes | memoryview
S = TypeVar("S", bound=msgspec.Struct)


def encode(message: msgspec.Struct, payload: Bytes | None = None) -> list[Bytes]:
    """The frames of one message (or event, without its topic)."""
    packed = msgspec.msgpack.encode(message)
    return [packed] if payload is None else [packed, payload]


def encode_together(messages: Iterable[Message]) -> Iterator[list[Bytes]]:
    """The frames of messages (without payload) to one worker, in order and in as few batches as possible."""
    together: list[bytes] = []
    size = 0
    for message in messages:
        packed = msgspec.msgpack.encode(message)
        if together and size + len(packed) > BATCH_BYTES:
            yield _batch(together)
            together, size = [], 0
        together.append(packed)
        size += len(packed)
    if together:
        yield _batch(together)


def _batch(packed: list[bytes]) -> list[Bytes]:
    return list(packed) if len(packed) == 1 else encode(Batch(messages=[msgspec.Raw(one) for one in packed]))


def _by_tag(union: Any) -> dict[str, type[Any]]:
    """A union's types by tag."""
    return {str(kind.__struct_config__.tag): kind for kind in get_args(union)}


TO_COORDINATOR = _by_tag(ToCoordinator | admin.ToCoordinator)
TO_WORKER = _by_tag(ToWorker)
TO_CLIENT = _by_tag(ToClient | admin.ToClient)
EVENTS = _by_tag(AnyEvent | Events)


class _Head(msgspec.Struct):
    """A message's type field; decoding it skips everything else."""

    type: msgspec.Raw = msgspec.Raw(b"\xc0")


NO_MESSAGE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""Exceptions that msgspec raises for malformed input."""


def kind_of(frames: Sequence[Bytes]) -> type[Message]:
    """The type of a message to the coordinator, found cheaply even in a large one. Raises ProtocolError."""
    head, _ = _bounded(frames)
    kind = _kind(head, TO_COORDINATOR)
    if len(head) > (most := NESTED_MAP_BYTES.get(kind, FLAT_MAP_BYTES)):
        tag = kind.__struct_config__.tag
        raise ProtocolError("too_large", f"the map of a {tag!r} has at most {most} bytes, not {len(head)}")
    return kind


def _kind(head: Bytes, wanted: Mapping[str, type[S]]) -> type[S]:
    """The type of a map, out of `wanted`. Raises ProtocolError."""
    try:
        raw = from_msgpack(head, _Head).type
    except NO_MESSAGE as error:
        raise ProtocolError("bad_frame", f"not a msgpack map: {error}") from error
    try:
        tag = from_msgpack(raw, str)
    except NO_MESSAGE:
        raise ProtocolError("unknown_type", "a message needs a type, which is a string") from None
    kind = wanted.get(tag)
    if kind is None:
        raise ProtocolError("unknown_type", f"unknown message type {tag!r:.100}")
    return kind


def _bounded(frames: Sequence[Bytes]) -> tuple[Bytes, Bytes]:
    """The map and the payload (b"" if none) of a message within the general limits. Raises ProtocolError."""
    if not 1 <= len(frames) <= MAX_FRAMES:
        raise ProtocolError("bad_frame", f"a message has 1 or {MAX_FRAMES} frames, not {len(frames)}")
    head = frames[0]
    if len(head) > MAX_MAP_BYTES:
        raise ProtocolError(
            "too_large",
            f"a message map has at most {MAX_MAP_BYTES} bytes, not {len(head)}; if it is a plan, move scripts and "
            "variables into files of the repository",
        )
    payload = frames[1] if len(frames) > 1 else b""
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise ProtocolError("too_large", f"a payload has at most {MAX_PAYLOAD_BYTES} bytes, not {len(payload)}")
    return head, payload


def _unpack(head: Bytes, kind: type[S]) -> S:
    """The message in a map; unknown fields are skipped. Raises ProtocolError."""
    try:
        return from_msgpack(head, kind)
    except NO_MESSAGE as error:
        code = "bad_field" if isinstance(error, msgspec.ValidationError) else "bad_frame"
        raise ProtocolError(code, f"{kind.__struct_config__.tag!r}: {error}") from error


def check_numbers(message: msgspec.Struct) -> None:
    """Refuses numbers that can't be stored or compared, at any depth. Raises ProtocolError."""
    rest: list[Iterable[Any]] = [msgspec.structs.astuple(message)]
    while rest:
        for value in rest.pop():
            if value is None or isinstance(value, str):
                continue
            if isinstance(value, float):
                if not math.isfinite(value):
                    _refuse_number(message, f"{value} is not a finite number")
            elif isinstance(value, int):
                if not -LARGEST_INTEGER <= value <= LARGEST_INTEGER:
                    _refuse_number(message, f"{value} has more than 63 bits")
            elif isinstance(value, msgspec.Struct):
                rest.append(msgspec.structs.astuple(value))
            elif isinstance(value, dict):
                rest.append(value.values())
            elif isinstance(value, list):
                rest.append(value)


def _refuse_number(message: msgspec.Struct, why: str) -> NoReturn:
    raise ProtocolError("bad_field", f"{message.__struct_config__.tag!r}: {why}")


def request_id(frames: Sequence[Bytes]) -> int | None:
    """The `id` of a request that could not be decoded, if it can be found, for the error reply."""
    try:
        unpacker = msgpack.Unpacker(raw=False)
        unpacker.feed(frames[0][:REQUEST_HEAD_BYTES])
        for _ in range(unpacker.read_map_header()):
            key, value = unpacker.unpack(), unpacker.unpack()
            if key == "id":
                return value if type(value) is int and 0 <= value <= LARGEST_INTEGER else None
    except Exception:  # the decoder has already reported the problem
        pass
    return None


def _decode(frames: Sequence[Bytes], kind: type[S]) -> tuple[S, Bytes]:
    """The message and its payload, if its type may have one. Raises ProtocolError."""
    head, payload = _bounded(frames)
    message = _unpack(head, kind)
    if len(frames) > 1 and kind not in PAYLOAD_TYPES:
        raise ProtocolError("bad_frame", f"{kind.__name__} has no payload frame")
    return message, payload


def decode_for_coordinator(frames: Sequence[Bytes], kind: type[Message] | None = None) -> tuple[Message, Bytes]:
    """A message from a worker or client, of the type found by `kind_of`. Raises ProtocolError."""
    message, payload = _decode(frames, kind or kind_of(frames))
    check_numbers(message)
    return message, payload


def decode_for_worker(frames: Sequence[Bytes]) -> tuple[Message, Bytes]:
    """A message from the coordinator to a worker. Raises ProtocolError."""
    return _decode(frames, _kind(_bounded(frames)[0], TO_WORKER))


def each_of(message: Message) -> Iterator[Message]:
    """The messages of a batch; any other message itself. Raises ProtocolError."""
    if isinstance(message, Batch):
        for packed in message.messages:
            yield decode_for_worker([memoryview(packed)])[0]
    else:
        yield message


def decode_for_client(frames: Sequence[Bytes]) -> tuple[Message, Bytes]:
    """A message from the coordinator to a client. Raises ProtocolError."""
    return _decode(frames, _kind(_bounded(frames)[0], TO_CLIENT))


def each_event(frames: Sequence[Bytes]) -> Iterator[Sequence[Bytes]]:
    """The frames of each event in a message of the feed, without its topic. Raises ProtocolError."""
    head, _ = _bounded(frames)
    if _kind(head, EVENTS) is Events:
        for packed in _unpack(head, Events).events:
            yield [bytes(packed)]
    else:
        yield frames


def decode_event(frames: Sequence[Bytes]) -> tuple[AnyEvent, Bytes]:
    """One event of the feed, from `each_event`. Raises ProtocolError."""
    head, payload = _bounded(frames)
    return _unpack(head, _kind(head, EVENTS)), payload
