"""What is refused of a body before anything is built of it, and what is not, however it looks."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingress.decoding.binary_format import BinaryFormat
from ingress.decoding.codec import LazyCodec
from ingress.decoding.json_format import JsonFormat
from ingress.decoding.turns import SLICE_SECONDS, Slices
from shared.errors import EventLoggingError, InvalidEventError, MalformedRequestError, RequestTooLargeError
from shared.events import canonical_json
from shared.gen.events.v1.event_logging_pb import LogEventRequest, LogEventsRequest
from tests.support.events import log, nested_lists, nested_objects, stored_metadata
from tests.support.wire.decoding import BINARY, JSON, LIMITS, CountedTurns, decode_event, decode_events, finished

MIB = 1024 * 1024
KIB_64 = 65_536

FULL: dict[str, dict[str, Any]] = {
    "commas": {"k": "," * (KIB_64 - 8)},
    "braces": {"k": "{" * (KIB_64 - 8)},
    "quotes": {"k": '"' * (KIB_64 // 2 - 4)},
    "line feeds": {"k": "\n" * (KIB_64 // 2 - 4)},
    "the twos of the wire format": {"k": "2" * (KIB_64 - 8)},
    "asterisks": {"k": "*" * (KIB_64 - 8)},
    "letters with 0x8A in them": {"k": "\u228a" * (KIB_64 // 3 - 3)},
    "numbers": {"k": [1] * (KIB_64 // 2 - 4)},
    "numbers with marks in their bytes": {"k": [18.5] * (KIB_64 // 5 - 3)},
    "empty objects": {"k": [{}] * (KIB_64 // 3 - 3)},
    "empty lists": {"k": [[]] * (KIB_64 // 3 - 3)},
    "empty texts": {"k": [""] * (KIB_64 // 3 - 3)},
    "nulls": {"k": [None] * (KIB_64 // 5 - 3)},
    "objects with an empty key": {"k": [{"": 0}] * (KIB_64 // 7 - 3)},
    "objects in objects": {"k": [nested_objects(29)] * (KIB_64 // 180)},
    "lists in lists": {"k": [nested_lists(29)["k"]] * (KIB_64 // 60)},
}


@pytest.mark.parametrize("what", FULL)
@pytest.mark.parametrize("codec", [JSON, BINARY], ids=["json", "binary"])
def test_all_that_metadata_may_hold_is_decoded(what: str, codec: LazyCodec) -> None:
    assert KIB_64 * 0.9 < len(canonical_json.encode(FULL[what])) <= KIB_64
    blank = "\u200a" * 3800
    request = log(
        FULL[what], event_name=f"{blank}n", event_type=f"{blank}t", actor_id=f"{blank}a", idempotency_key=f"{blank}k"
    )

    assert decode_event(codec.encode(request), codec) == request


def test_all_that_metadata_may_hold_is_decoded_though_every_character_is_escaped() -> None:
    text = r"\u002c" * (KIB_64 - 8)

    decoded = decode_event(f'{{"event_name":"a","metadata":{{"k":"{text}"}}}}'.encode())

    assert decoded.metadata is not None
    assert decoded.metadata.to_python() == {"k": "," * (KIB_64 - 8)}


@given(stored_metadata)
def test_an_event_has_no_more_marks_than_its_metadata_has_bytes(metadata: dict[str, Any]) -> None:
    request = log(metadata)
    text = len(json.dumps(metadata, ensure_ascii=False, separators=(",", ":")).encode())

    for codec, request_format in ((JSON, JsonFormat()), (BINARY, BinaryFormat())):
        assert request_format.marks(codec.encode(request)) <= text + 100


def dense_json(item: bytes, count: int) -> bytes:
    return b'{"event_name":"b","metadata":{"a":[' + b",".join([item] * count) + b"]}}"


def field(tag: bytes, value: bytes) -> bytes:
    size, length = len(value), b""
    while size > 127:
        length += bytes([size & 127 | 128])
        size >>= 7
    return tag + length + bytes([size]) + value


def dense_binary(item: bytes, count: int) -> bytes:
    values = field(b"\x32", item * count)
    return field(b"\x0a", b"b") + field(b"\x2a", field(b"\x0a", field(b"\x0a", b"a") + field(b"\x12", values)))


DENSE = {
    "json objects": (JSON, dense_json(b"{}", 340_000)),
    "json numbers": (JSON, dense_json(b"1", 500_000)),
    "json texts": (JSON, dense_json(b'""', 340_000)),
    "json lists in lists": (JSON, dense_json(b"[" * 90 + b"]" * 90, 5_000)),
    "json texts without commas": (JSON, b'{"event_name":' + b'""' * 500_000),
    "a json field of the wrong type before them": (JSON, b'{"event_name":5,"x":[' + b"1," * 500_000 + b"1]}"),
    "binary empty values": (BINARY, dense_binary(b"\x0a\x00", 500_000)),
    "binary values by a longer tag": (BINARY, dense_binary(b"\x8a\x00\x00", 300_000)),
    "binary times, again and again": (BINARY, b"\x22\x00" * 500_000),
    "binary objects": (BINARY, dense_binary(b"\x0a\x02\x2a\x00", 250_000)),
}


@pytest.mark.parametrize(("codec", "body"), DENSE.values(), ids=DENSE.keys())
def test_what_no_valid_event_has_room_for_is_refused_alone_or_as_one_of_many(codec: LazyCodec, body: bytes) -> None:
    assert len(body) < MIB

    with pytest.raises(RequestTooLargeError):
        decode_event(body, codec)

    good = codec.encode(log())
    if codec is BINARY:
        batch = b"".join(field(b"\x0a", event) for event in (good, body, good))
    elif "without commas" in str(body[-20:]) or not body.endswith(b"}"):
        return  # where it ends is not to be found
    else:
        batch = b'{"events":[' + b",".join([good, body, good]) + b"]}"
    try:
        found = decode_events(batch, codec)
    except RequestTooLargeError:
        return  # more brackets than a body may have
    assert [type(event) for event in found] == [LogEventRequest, RequestTooLargeError, LogEventRequest]


@pytest.mark.parametrize("codec", [JSON, BINARY], ids=["json", "binary"])
def test_an_event_larger_than_its_limit_is_refused_among_others(codec: LazyCodec) -> None:
    events = [log(), log({"k": "x" * MIB}), log()]

    found = decode_events(codec.encode(LogEventsRequest(events=events)), codec)

    assert [type(event) for event in found] == [LogEventRequest, RequestTooLargeError, LogEventRequest]
    with pytest.raises(RequestTooLargeError, match=f"larger than {LIMITS.event_bytes} bytes"):
        decode_event(codec.encode(events[1]), codec)


@pytest.mark.parametrize("codec", [JSON, BINARY], ids=["json", "binary"])
@pytest.mark.parametrize(("values", "refused"), [(200, False), (220, True)])
def test_the_values_of_several_events_are_counted_together(codec: LazyCodec, values: int, refused: bool) -> None:
    # Each value comes with a text of commas and line feeds, which are none.
    metadata = {f"k{number}": ",\n{" * 30 for number in range(99)} | {"list": [1] * (values - 100)}
    body = codec.encode(LogEventsRequest(events=[log(metadata)] * 498))

    if refused:
        with pytest.raises(RequestTooLargeError, match="more than 100000 values"):
            decode_events(body, codec)
    else:
        assert len(decode_events(body, codec)) == 498


@pytest.mark.parametrize("codec", [JSON, BINARY], ids=["json", "binary"])
@pytest.mark.parametrize("item", [{}, [], "", 1, None, {"": {}}, [[]]], ids=repr)
def test_a_batch_may_have_as_many_values_as_it_may(codec: LazyCodec, item: Any) -> None:
    count = 99_999 // 10 if item in (1, {}, [], "", None) else 99_999 // 20
    events = [log({"k": [item] * (count - 2)})] * 10

    assert len(decode_events(codec.encode(LogEventsRequest(events=events)), codec)) == 10


def test_a_batch_full_of_commas_is_no_batch_of_many_values() -> None:
    events = [log({"k": "," * 65_000})] * 60

    assert list(decode_events(JSON.encode(LogEventsRequest(events=events)))) == events


@pytest.mark.parametrize(
    "body",
    [
        b'{"events":[' + b"{}," * 1_300_000 + b"{}]}",
        b'{"events":[' + b"1," * 1_300_000 + b"1]}",
        b'{"events":[' + b'"",' * 1_300_000 + b'""]}',
    ],
    ids=["objects", "numbers", "texts"],
)
def test_of_too_many_events_none_is_decoded(body: bytes) -> None:
    assert len(decode_events(body)) == 501


@pytest.mark.parametrize(
    "body",
    [
        b'{"x":[' + b"{}," * 1_300_000 + b"{}]}",
        b'{"events":[{"metadata":[' + b"{}," * 1_300_000 + b"{}]}]}",
        b'{"events":[{"metadata":[' + b"[" * 4_000_000,
    ],
    ids=["beside the events", "in one event", "without an end"],
)
def test_a_body_of_far_too_many_brackets_is_not_read_to_its_end(body: bytes) -> None:
    with pytest.raises(RequestTooLargeError):
        decode_events(body)


@pytest.mark.parametrize(
    ("body", "codec"),
    [
        (b"\x10\x00" * 1_000_000, BINARY),
        (b"{" + b'"x":1,' * 500_000 + b'"x":1}', JSON),
        (b"{" + b'"events":[],' * 300_000 + b'"events":[]}', JSON),
    ],
    ids=["binary", "json", "json, the events again and again"],
)
def test_a_body_of_many_unknown_fields_is_refused(body: bytes, codec: LazyCodec) -> None:
    with pytest.raises(RequestTooLargeError):
        decode_events(body, codec)


@pytest.mark.parametrize(
    ("body", "line", "column"),
    [
        (b"", 1, 1),
        (b"{", 1, 2),
        (b'{"events"', 1, 2),
        (b'{"events":', 1, 11),
        (b'{"events":[{}', 1, 14),
        (b'{"events":[{}]', 1, 15),
        (b'{"events":[{},]}', 1, 15),
        (b'{"events":[,]}', 1, 12),
        (b'{"events":[{} {}]}', 1, 14),
        (b'{"events":[{}],}', 1, 16),
        (b'{"events":[{}]}}', 1, 16),
        (b'{"events":[{"a":}]}', 1, 17),
        (b'{"events":\n[{"event_name":"\xc3\xa9" 5}]}', 2, 20),
        (b'{"events":[{"a":"]}', 1, 17),
        (b'{"events":[{"a":[}]}', 1, 20),
        (b'{"events":[{"a":1},{"a":tru}]}', 1, 25),
        (b'{"x":tru,"events":[]}', 1, 6),
        (b'{"x":[1,],"events":[]}', 1, 6),
        (b'{"\\x":1,"events":[]}', 1, 2),
    ],
)
def test_says_where_a_batch_stops_being_json(body: bytes, line: int, column: int) -> None:
    with pytest.raises(MalformedRequestError) as caught:
        decode_events(body)
    assert str(caught.value) == f"the body is not valid JSON (line {line}, column {column})"


@pytest.mark.parametrize("body", [b"[]", b" 1", b'"a"', b"null", b"true", b"-"])
def test_a_batch_is_an_object(body: bytes) -> None:
    with pytest.raises(MalformedRequestError, match="the body must be a JSON object"):
        decode_events(body)


@pytest.mark.parametrize("value", [b"{}", b"1", b'"a"', b"true"])
def test_the_events_are_a_list(value: bytes) -> None:
    with pytest.raises(InvalidEventError) as caught:
        decode_events(b'{"events":' + value + b"}")
    assert [(v.field, v.rule) for v in caught.value.violations] == [("events", "type")]


@pytest.mark.parametrize(
    ("body", "events"),
    [
        (b"{}", 0),
        (b' { "events" : null } ', 0),
        (b'{"events":[]}', 0),
        (b'\n{ "x" : {"y":["]",1.5e3,true,null]} , "events" : [ {} , {} ] , "z":"}" }\n', 2),
        (b'{"events":[{}],"events":[{},{},{}]}', 3),
        (b'{"\\u0065vents":[{}]}', 1),
        (b'{"events":[{"x":"a\\"]}\\\\"},{"x":"' + b"\\\\" * 100_000 + b'"},{}]}', 3),
        (b'{"events":[{"x":"' + b"y" * 300_000 + b'\\"","z":[{}]},{}]}', 2),
    ],
)
def test_finds_the_events_wherever_they_are(body: bytes, events: int) -> None:
    assert list(decode_events(body)) == [LogEventRequest()] * events


@pytest.mark.parametrize("item", [b"null", b"1", b'"a"', b"[]", b"true"])
def test_what_is_no_event_is_refused_on_its_own(item: bytes) -> None:
    found = decode_events(b'{"events":[{},' + item + b",{}]}")

    assert [type(event) for event in found] == [LogEventRequest, MalformedRequestError, LogEventRequest]


def test_a_binary_event_that_does_not_decode_is_refused_on_its_own() -> None:
    good = log().to_binary()
    body = b"".join(field(b"\x0a", event) for event in (good, b"\x0a\x01\xff", b"\x0a", good))

    found = decode_events(body, BINARY)

    assert [isinstance(event, EventLoggingError) for event in found] == [False, True, True, False]
    assert isinstance(found[1], InvalidEventError)
    assert [(v.field, v.rule) for v in found[1].violations] == [("event_name", "type")]


@pytest.mark.parametrize("body", [b"\x0a", b"\x0a\x05a", b"\xff" * 11, b"\x07", b"\x00", b"{}", b"\x0b\x0c"])
def test_what_is_no_binary_batch_is_refused(body: bytes) -> None:
    with pytest.raises(MalformedRequestError, match="the body is not a binary LogEventsRequest"):
        decode_events(body, BINARY)


@given(st.lists(st.floats(0, 0.004), max_size=50))
def test_a_slice_has_as_many_pieces_as_fit(durations: list[float]) -> None:
    now = 100.0
    turns = CountedTurns()
    slices = Slices(turns, "a", now=lambda: now)
    held = 0.0
    for duration in durations:
        before = turns.count
        finished(slices.next_piece())
        held = duration if turns.count > before else held + duration
        now += duration
        assert held <= SLICE_SECONDS + duration
    assert turns.count <= 1 + sum(durations) / SLICE_SECONDS
