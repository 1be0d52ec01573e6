"""Every message survives the wire, and nothing that is not exactly one gets through it."""

from __future__ import annotations

import math
from typing import Any, get_args

import msgpack
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol import codec, events
from protocol import messages as m
from protocol.errors import ProtocolError
from protocol.plan import JobPlan, Plan
from tests.support.strategies import TEXT, structs

Decoder = Any
TO_COORDINATOR = get_args(m.ToCoordinator)
TO_WORKER = get_args(m.ToWorker)
TO_CLIENT = get_args(m.ToClient)
EVENTS = get_args(events.AnyEvent)
DECODERS: list[tuple[Decoder, tuple[type[msgspec.Struct], ...]]] = [
    (codec.decode_for_coordinator, TO_COORDINATOR),
    (codec.decode_for_worker, TO_WORKER),
    (codec.decode_for_client, TO_CLIENT),
    (codec.decode_event, EVENTS),
]
CASES = [pytest.param(decode, kind, id=f"{decode.__name__}-{kind.__name__}") for decode, ks in DECODERS for kind in ks]


@pytest.mark.parametrize(("decode", "kind"), CASES)
@given(data=st.data())
@settings(max_examples=12)
def test_every_message_survives_the_wire(decode: Decoder, kind: type[msgspec.Struct], data: st.DataObject) -> None:
    message = data.draw(structs(kind))
    payload = data.draw(st.binary(max_size=50)) if kind in (*m.PAYLOAD_TYPES, events.LogAppended) else None
    frames = [bytes(frame) for frame in codec.encode(message, payload)]
    assert decode(frames) == (message, payload or b"")


@pytest.mark.parametrize(("decode", "kind"), CASES)
def test_a_missing_field_is_named(decode: Decoder, kind: type[msgspec.Struct]) -> None:
    required = [f.name for f in msgspec.structs.fields(kind) if f.required]
    if not required:
        assert decode([msgpack.packb({"type": kind.__struct_config__.tag})])[0] == kind()
        return
    with pytest.raises(ProtocolError, match=f"`{required[0]}`") as caught:
        decode([msgpack.packb({"type": kind.__struct_config__.tag})])
    assert caught.value.code == "bad_field"


@pytest.mark.parametrize(("decode", "kind"), CASES)
def test_a_field_of_a_wrong_type_is_named(decode: Decoder, kind: type[msgspec.Struct]) -> None:
    for field in msgspec.structs.fields(kind):
        fields = {f.name: None for f in msgspec.structs.fields(kind) if f.required}
        wrong = {"type": kind.__struct_config__.tag, **fields, field.name: {"no": ["such", "thing"]}}
        with pytest.raises(ProtocolError) as caught:
            decode([msgpack.packb(wrong)])
        assert caught.value.code == "bad_field"


@pytest.mark.parametrize("decode", [decode for decode, _ in DECODERS])
@given(frames=st.lists(st.binary(max_size=100), max_size=4))
@settings(max_examples=300)
def test_noise_is_refused_by_name(decode: Decoder, frames: list[bytes]) -> None:
    with pytest.raises(ProtocolError) as caught:
        decode(frames)
    assert caught.value.code in ("bad_frame", "unknown_type", "bad_field")


packable = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | TEXT | st.binary(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT | st.binary(max_size=3), inner, max_size=4),
    max_leaves=15,
)


def taken_or_refused(frames: list[bytes]) -> Any:
    """The message, or the refusal."""
    try:
        return codec.decode_for_coordinator(frames)[0]
    except ProtocolError as error:
        return error


@given(kind=st.sampled_from(TO_COORDINATOR), data=st.data())
@settings(max_examples=600)
def test_anything_in_any_field_is_a_message_or_a_named_refusal(kind: type[msgspec.Struct], data: st.DataObject) -> None:
    names = [field.name for field in msgspec.structs.fields(kind)]
    whole = msgspec.to_builtins(data.draw(structs(kind)))
    broken = {**whole, **data.draw(st.dictionaries(st.sampled_from([*names, "type", "new"]), packable, max_size=3))}
    outcome = taken_or_refused([msgpack.packb(broken)])
    assert isinstance(outcome, TO_COORDINATOR) or outcome.code in ("bad_frame", "unknown_type", "bad_field")


def test_a_direction_takes_only_its_own_messages() -> None:
    assign = m.DrainWorker(id=1, worker="w")
    with pytest.raises(ProtocolError, match="'drain_worker'") as caught:
        codec.decode_for_worker(codec.encode(assign))
    assert caught.value.code == "unknown_type"


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        ([], "bad_frame"),
        ([b""], "bad_frame"),
        ([b"", b"", b""], "bad_frame"),
        ([msgpack.packb([1])], "bad_frame"),
        ([msgpack.packb("heartbeat")], "bad_frame"),
        ([msgpack.packb({"type": "heartbeat"}) + b"\0"], "bad_frame"),
        ([msgpack.packb({"type": "heartbeat"})[:-1]], "bad_frame"),
        ([msgpack.packb({1: 2})], "bad_frame"),
        ([msgpack.packb({"type": "heartbeat"}), b"payload"], "bad_frame"),
        ([b"\x81\xa4type" * 600], "bad_frame"),
        ([b"\x91" * 100_000], "bad_frame"),
        ([msgpack.packb({})], "unknown_type"),
        ([msgpack.packb({"type": "no_such"})], "unknown_type"),
        ([msgpack.packb({"type": ["x"]})], "unknown_type"),
        ([msgpack.packb({"type": "get_run", "id": 1, "run": 2**63})], "bad_field"),
        ([msgpack.packb({"type": "get_run", "id": 1, "run": "2"})], "bad_field"),
        ([msgpack.packb({"type": "job_status", "attempt": "1.1", "seq": 1, "status": "dead"})], "bad_field"),
        ([b"x" * (codec.MAX_MAP_BYTES + 1)], "too_large"),
        ([msgpack.packb({"type": "log_chunk"}), bytes(codec.MAX_PAYLOAD_BYTES + 1)], "too_large"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_each_kind_of_wrong_frame_has_its_code(frames: list[bytes], code: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        codec.decode_for_coordinator(frames)
    assert caught.value.code == code


@pytest.mark.parametrize(
    "told",
    [
        *({"timeout": number} for number in (math.nan, math.inf, -math.inf)),
        *({"resources": {"log_limit": number}} for number in (2**63, -(2**63))),
    ],
    ids=str,
)
def test_numbers_that_no_database_keeps_are_refused_at_any_depth(told: dict[str, Any]) -> None:
    plan = Plan(name="p", project="p", project_dir="/p", stages=[], jobs=[])
    whole = msgspec.to_builtins(m.SubmitRun(id=1, token="t", plan=plan))
    whole["plan"]["jobs"] = [{"name": "a", "stage": "b", "script": [], **told}]
    with pytest.raises(ProtocolError) as caught:
        codec.decode_for_coordinator([msgpack.packb(whole)])
    assert caught.value.code == "bad_field"


def test_what_goes_together_comes_out_in_order_whatever_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec, "BATCH_BYTES", 200)
    sent = [m.Ack(attempt=f"{number}.1", status_seq=number) for number in range(20)]
    sent.insert(7, m.Ack(attempt="7.2", stream="s" * 500))
    all_frames = list(codec.encode_together(sent))
    assert 2 < len(all_frames) < len(sent)
    decoded = [codec.decode_for_worker(frames)[0] for frames in all_frames]
    assert any(isinstance(message, m.Batch) for message in decoded)
    assert [one for message in decoded for one in codec.each_of(message)] == sent
    (alone,) = codec.encode_together(sent[:1])
    assert codec.decode_for_worker(alone)[0] == sent[0]


def test_a_newer_peer_may_say_more_in_a_message_than_is_known() -> None:
    frames = [msgpack.packb({"type": "heartbeat", "disk_low": True, "mood": "good"})]
    assert codec.decode_for_coordinator(frames) == (m.Heartbeat(disk_low=True), b"")


def test_the_request_of_a_refused_frame_is_found_where_it_can_be() -> None:
    assert codec.request_id([msgpack.packb({"type": "get_run", "id": 12, "run": None})]) == 12
    for frames in (
        [],
        [b""],
        [b"noise"],
        [msgpack.packb([])],
        [msgpack.packb({"id": "12"})],
        [msgpack.packb({"id": True})],
    ):
        assert codec.request_id(frames) is None


def test_only_types_with_a_limit_of_their_own_have_room_for_lists() -> None:
    for kind in codec.TO_COORDINATOR.values():
        types = [field.type for field in msgspec.structs.fields(kind)]
        flat = not any(word in str(types) for word in ("list", "dict", "protocol."))
        assert flat == (kind not in codec.NESTED_MAP_BYTES), (kind, types)


def test_what_is_not_asked_for_is_skipped_and_never_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(msgpack, "unpackb", lambda *_, **__: pytest.fail("unpacked"))
    junk: list[list[int]] = [[]] * 20_000
    told = {"type": "list_runs", "id": 7, "junk": junk, "limit": 5}
    assert codec.decode_for_coordinator([msgpack.packb(told)])[0] == m.ListRuns(id=7, limit=5)
    for nothing in (junk, {"junk": junk}, {"type": junk}, {"type": "no_such", "junk": junk}):
        with pytest.raises(ProtocolError):
            codec.decode_for_coordinator([msgpack.packb(nothing)])
    with pytest.raises(ProtocolError, match=r"the map of a 'list_runs' has at most \d+ bytes") as caught:
        codec.decode_for_coordinator([msgpack.packb(told | {"junk": junk * 100})])
    assert caught.value.code == "too_large"
    with pytest.raises(ProtocolError, match="'hello'"):
        codec.kind_of([msgpack.packb({"type": "hello", "junk": junk * 100})])


@pytest.mark.parametrize("digest", ["/etc/passwd", "../../x", "A" * 64, "0" * 63, "0" * 64 + "\n", ""])
def test_what_is_no_digest_does_not_get_through_in_the_place_of_one(digest: str) -> None:
    status = {"type": "job_status", "attempt": "1.1", "seq": 1, "status": "success"}
    artifact = {"kind": "archive", "digest": digest, "size": 1}
    with pytest.raises(ProtocolError, match="digest"):
        codec.decode_for_coordinator([msgpack.packb(status | {"artifacts": [artifact]})])
    update = {"type": "dependency_update", "attempt": "1.1"}
    dependency = {"job": "a", "status": "success", "satisfied": True, "artifacts": [artifact]}
    with pytest.raises(ProtocolError, match="digest"):
        codec.decode_for_worker([msgpack.packb(update | {"dependency": dependency})])


@pytest.mark.parametrize("attempt", ["../../x", "1.1/../..", "1.1?force=1", "1", "1.1\n", "\u0661.1"])
def test_what_is_no_attempt_is_not_assigned(attempt: str) -> None:
    whole = m.Assignment(
        attempt=attempt, run=1, job_id=1, number=1, project="p", project_dir="/p", predefined=[], variables=[],
        run_variables=[], job=JobPlan(name="a", stage="s", script=[]),
    )  # fmt: skip
    with pytest.raises(ProtocolError, match="attempt"):
        codec.decode_for_worker(codec.encode(m.AssignJob(assignment=whole)))
