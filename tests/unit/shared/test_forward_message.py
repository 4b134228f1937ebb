"""Forward messages are decoded as they were encoded, and poison is recognized."""

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import UndecodableMessageError
from shared.events.event import Event
from shared.events.forward_message import _decode_any, _decode_ours, bounded_attributes, decode, encode
from shared.gen.events.v1.forward_pb import ForwardMessage
from tests.support.sample_events import ASTRAL, EVENT_ID, bare_event
from tests.support.strategies import events, hostile_text

GOOD: dict[str, Any] = {
    "schemaVersion": 1,
    "eventId": EVENT_ID,
    "eventName": "order_paid",
    "eventTs": "2026-01-01T00:00:00.000000001Z",
    "metadata": {"a": 1},
}


def body(**changes: Any) -> bytes:
    return json.dumps({key: value for key, value in (GOOD | changes).items() if value is not None}).encode()


@given(events)
def test_decodes_to_the_event_that_was_encoded(given: Event) -> None:
    assert decode(encode(given).data) == given


@given(events)
def test_protobuf_reads_the_same_event(given: Event) -> None:
    message = ForwardMessage.from_json(encode(given).data)

    assert (message.schema_version, message.event_id, message.event_name) == (1, given.event_id, given.event_name)
    assert (message.event_type or None, message.actor_id or None) == (given.event_type, given.actor_id)
    assert message.event_ts is not None
    assert message.event_ts.to_nanos() == given.event_ts_nanos
    assert message.metadata is not None
    assert message.metadata.to_python() == given.metadata


@given(events, st.data())
def test_the_short_way_of_decoding_says_nothing_that_protobuf_would_not(given: Event, data: st.DataObject) -> None:
    fields = json.loads(encode(given).data)
    changed = data.draw(st.sampled_from([*fields, "eventType", "unknown"]))
    fields[changed] = data.draw(
        st.sampled_from([None, "", "text", 1, 2, True, 1.5, {}, {"a": 1.0}, ["x"], given.event_id])
    )
    altered = json.dumps(fields).encode()

    ours = _decode_ours(altered, None)

    assert ours is None or ours == _decode_any(altered, None)


@given(events)
def test_the_same_event_gives_the_same_bytes(given: Event) -> None:
    assert encode(given) == encode(given)


def test_can_be_read_by_a_person() -> None:
    data = json.loads(encode(bare_event({"total": 12.5}, event_type="billing")).data)

    assert data["eventName"] == "order_paid"
    assert data["eventTs"].startswith("2026-")
    assert data["metadata"] == {"total": 12.5}


def test_attributes_say_what_is_filtered_on() -> None:
    message = encode(bare_event(traceparent="00-1-2-01"))

    assert message.attributes == {
        "event_id": EVENT_ID,
        "event_name": "order_paid",
        "schema_version": "1",
        "traceparent": "00-1-2-01",
    }


def test_unknown_fields_of_a_later_writer_are_ignored_within_the_version() -> None:
    assert decode(body()).event_id == EVENT_ID


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00",
        b"\xff\xfe",
        b"null",
        b"[]",
        b"1",
        b"{",
        b"{}",
        b"\xef\xbb\xbf{}",
        b'{"metadata":' * 5_000,
        body()[:-1],
        body() + b"x",
        body(schemaVersion=None),
        body(schemaVersion=0),
        body(schemaVersion=2),
        body(schemaVersion="one"),
        body(schemaVersion=10**30),
        body(eventId=None),
        body(eventId=""),
        body(eventId=5),
        body(eventName=None),
        body(eventName=""),
        body(eventTs=None),
        body(eventTs="yesterday"),
        body(eventTs="10000-01-01T00:00:00Z"),
        body(eventTs="0000-01-01T00:00:00Z"),
        body(metadata=[1]),
        body(metadata={"a": float("nan")}),
        body(metadata={"a": 1}).replace(b'"a": 1', b'"a": 1e999'),
        body(metadata={"a": "\ud800"}),
        body(eventName="\ud800"),
    ],
)
def test_poison_is_undecodable_and_nothing_else(data: bytes) -> None:
    with pytest.raises(UndecodableMessageError):
        decode(data)


@pytest.mark.parametrize("event_id", ["x", "not-a-uuid", EVENT_ID + "0", EVENT_ID.upper(), "../" * 12])
def test_an_id_that_the_service_could_not_have_made_is_undecodable(event_id: str) -> None:
    with pytest.raises(UndecodableMessageError):
        decode(body(eventId=event_id))


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_an_event_or_undecodable(data: bytes) -> None:
    with contextlib.suppress(UndecodableMessageError):
        decode(data)


@given(
    st.recursive(st.none() | st.booleans() | st.floats() | hostile_text, lambda v: st.lists(v, max_size=3)), st.data()
)
def test_a_message_with_any_field_of_any_type_is_an_event_or_undecodable(value: Any, data: st.DataObject) -> None:
    field = data.draw(st.sampled_from(sorted(GOOD)))
    with contextlib.suppress(UndecodableMessageError):
        decode(body(**{field: value}))


@pytest.mark.parametrize("character", ["x", "é", "注", ASTRAL])
def test_attributes_are_cut_to_bytes_and_never_inside_a_character(character: str) -> None:
    width = len(character.encode())
    bounded = bounded_attributes({character * 2000: character * 2000})

    assert bounded == {character * (256 // width): character * (1024 // width)}


def test_attributes_of_exactly_the_limit_are_kept() -> None:
    assert bounded_attributes({"k" * 256: "v" * 1024}) == {"k" * 256: "v" * 1024}


def test_attributes_without_a_value_are_left_out_and_do_not_count() -> None:
    many = {f"k{n}": "" if n % 2 else "v" for n in range(200)}

    assert len(bounded_attributes(many)) == 100


def test_attributes_beyond_the_hundredth_are_left_out() -> None:
    assert list(bounded_attributes({f"k{n}": "v" for n in range(101)})) == [f"k{n}" for n in range(100)]


def test_the_longest_name_fits_whole() -> None:
    name = ASTRAL * 256

    assert encode(bare_event(event_name=name)).attributes["event_name"] == name
