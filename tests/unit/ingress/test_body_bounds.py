"""A body's values and size: what is refused before anything is built of it, and what is decoded."""

import json
from typing import Any

import pytest
from hypothesis import given

from ingress.decoding.binary_format import BinaryFormat
from ingress.decoding.codec import LazyCodec
from ingress.decoding.json_format import JsonFormat
from shared.errors import RequestTooLargeError
from shared.events import canonical_json
from shared.gen.events.v1.event_logging_pb import LogEventRequest, LogEventsRequest
from tests.support.sample_requests import nested_lists, nested_objects, sample_request
from tests.support.strategies import stored_metadata
from tests.support.wire.decoding import BINARY, JSON, LIMITS, decode_event, decode_events

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
    request = sample_request(
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
    request = sample_request(metadata)
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

    good = codec.encode(sample_request())
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
    events = [sample_request(), sample_request({"k": "x" * MIB}), sample_request()]

    found = decode_events(codec.encode(LogEventsRequest(events=events)), codec)

    assert [type(event) for event in found] == [LogEventRequest, RequestTooLargeError, LogEventRequest]
    with pytest.raises(RequestTooLargeError, match=f"larger than {LIMITS.event_bytes} bytes"):
        decode_event(codec.encode(events[1]), codec)
