"""Where the events of a batch are found, and what is refused that is no batch or no event."""

import pytest

from shared.errors import EventLoggingError, InvalidEventError, MalformedRequestError
from shared.gen.events.v1.event_logging_pb import LogEventRequest
from tests.support.sample_requests import sample_request
from tests.support.wire.decoding import BINARY, decode_events


def field(tag: bytes, value: bytes) -> bytes:
    size, length = len(value), b""
    while size > 127:
        length += bytes([size & 127 | 128])
        size >>= 7
    return tag + length + bytes([size]) + value


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
    good = sample_request().to_binary()
    body = b"".join(field(b"\x0a", event) for event in (good, b"\x0a\x01\xff", b"\x0a", good))

    found = decode_events(body, BINARY)

    assert [isinstance(event, EventLoggingError) for event in found] == [False, True, True, False]
    assert isinstance(found[1], InvalidEventError)
    assert [(v.field, v.rule) for v in found[1].violations] == [("event_name", "type")]


@pytest.mark.parametrize("body", [b"\x0a", b"\x0a\x05a", b"\xff" * 11, b"\x07", b"\x00", b"{}", b"\x0b\x0c"])
def test_what_is_no_binary_batch_is_refused(body: bytes) -> None:
    with pytest.raises(MalformedRequestError, match="the body is not a binary LogEventsRequest"):
        decode_events(body, BINARY)
