"""Decoding of bodies, and the errors of those that do not decode."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingress.decoding.codec import LazyCodec
from ingress.error_codes import message_for
from shared.errors import EventLoggingError, InvalidEventError, MalformedRequestError
from shared.gen.events.v1.event_logging_pb import LogEventRequest, LogEventsRequest
from tests.support.sample_requests import sample_request
from tests.support.strategies import hostile_text
from tests.support.wire.decoding import BINARY, JSON, decode_event, decode_events

INTEGER = "1" * 4301
"""One digit more than Python reads."""


def refusal(data: bytes, codec: LazyCodec = JSON) -> EventLoggingError:
    with pytest.raises((MalformedRequestError, InvalidEventError)) as caught:
        decode_event(data, codec)
    assert len(message_for(caught.value, "")) <= 200
    return caught.value


def fields(error: EventLoggingError) -> dict[str, str]:
    return {v.field: v.description for v in error.violations} if isinstance(error, InvalidEventError) else {}


def test_round_trips_both_ways() -> None:
    request = sample_request({"a": 1.5}, event_type="t")

    for codec in (JSON, BINARY):
        assert decode_event(codec.encode(request), codec) == request


def test_accepts_both_spellings_of_a_field() -> None:
    for body in (b'{"eventName":"a","actorId":"b"}', b'{"event_name":"a","actor_id":"b"}'):
        assert decode_event(body) == LogEventRequest(event_name="a", actor_id="b")


def test_ignores_unknown_fields() -> None:
    assert decode_event(b'{"event_name":"a","x":{"y":[1]}}') == LogEventRequest(event_name="a")
    assert decode_event(b"\x0a\x01a\x7a\x01x", BINARY) == LogEventRequest(event_name="a")


def test_null_is_unset() -> None:
    body = b'{"event_name":"a","event_type":null,"event_ts":null,"metadata":null,"forward_to_statsig":null}'

    assert decode_event(body) == LogEventRequest(event_name="a")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "the body is not valid JSON (line 1, column 1)"),
        (b'{\n"event_name":', "the body is not valid JSON (line 2, column 14)"),
        (b'{"event_name":"a"}x', "the body is not valid JSON (line 1, column 19)"),
        (b'{"event_name":"\xff"}', "the body is not valid UTF-8"),
        (b"[]", "the body must be a JSON object"),
        (b"1", "the body must be a JSON object"),
        (b'"a"', "the body must be a JSON object"),
        (b"null", "the body must be a JSON object"),
        (b'{"metadata":{"a":' + b"[" * 2000 + b"]" * 2000 + b"}}", "the body is nested too deeply"),
        (b'{"x":' + INTEGER.encode() + b"}", "the body is not valid proto JSON"),
    ],
)
def test_says_where_the_body_stops_being_json(body: bytes, message: str) -> None:
    assert str(refusal(body)) == message


@pytest.mark.parametrize(
    ("field", "value", "description"),
    [
        ("event_name", 5, "must be a string"),
        ("eventName", ["a"], "must be a string"),
        ("actor_id", {}, "must be a string"),
        ("idempotency_key", True, "must be a string"),
        ("forward_to_statsig", "true", "must be true or false"),
        ("forward_to_statsig", 1, "must be true or false"),
        ("event_ts", "yesterday", "must be an RFC 3339 timestamp within the years 0001 to 9999"),
        ("event_ts", 1_700_000_000, "must be an RFC 3339 timestamp within the years 0001 to 9999"),
        ("event_ts", "10000-01-01T00:00:00Z", "must be an RFC 3339 timestamp within the years 0001 to 9999"),
        ("metadata", [1], "must be a JSON object without NaN or infinities, at most 32 levels deep"),
        ("metadata", "a", "must be a JSON object without NaN or infinities, at most 32 levels deep"),
    ],
)
def test_names_the_field_and_what_it_must_be(field: str, value: Any, description: str) -> None:
    error = refusal(json.dumps({field: value}).encode())

    assert fields(error) == {field: description}
    assert str(error) == f"{field}: {description}"


@pytest.mark.parametrize("field", ["event_name", "event_ts", "forward_to_statsig"])
def test_an_integer_that_python_does_not_read_is_of_the_wrong_type(field: str) -> None:
    assert fields(refusal(f'{{"{field}":{INTEGER}}}'.encode())).keys() == {field}


@pytest.mark.parametrize("number", [b"NaN", b"Infinity", b"-Infinity"])
def test_names_the_metadata_that_holds_no_number(number: bytes) -> None:
    assert fields(refusal(b'{"event_name":"a","metadata":{"n":' + number + b"}}")).keys() == {"metadata"}


@pytest.mark.parametrize("text", [rb"\ud800", rb"\udc00", rb"a\ud83d"])
def test_refuses_half_a_character(text: bytes) -> None:
    assert fields(refusal(b'{"event_name":"' + text + b'"}')).keys() == {"event_name"}


def test_names_every_field_that_is_wrong() -> None:
    body = {"event_name": 1, "event_type": 2, "actor_id": 3, "event_ts": 4, "metadata": 5, "idempotency_key": 6}

    assert fields(refusal(json.dumps(body).encode())).keys() == body.keys()


def test_never_repeats_a_value_or_an_unknown_field() -> None:
    canary = "canary-7d1d0f3c"
    error = refusal(json.dumps({"event_ts": canary, "event_name": [canary], canary: canary}).encode())

    assert canary not in str(error)
    assert canary not in repr(fields(error))


@pytest.mark.parametrize("start", [b"\xef\xbb\xbf", "\ufeff".encode("utf-16-le")])
def test_refuses_a_byte_order_mark(start: bytes) -> None:
    body = '{"event_name":"a"}'

    refusal(start + body.encode("utf-8" if len(start) == 3 else "utf-16-le"))


@pytest.mark.parametrize(
    "data", [b"\x0a", b"\x0a\x05a", b"\x0a\x01\xff", b"\xff" * 11, b"\x07", b"\x00", b"{}", b"\x2a\x01a"]
)
def test_says_nothing_of_a_binary_body_but_what_it_is_not(data: bytes) -> None:
    assert str(refusal(data, BINARY)) == "the body is not a binary LogEventRequest"


@given(st.binary(max_size=200))
def test_any_bytes_are_a_request_or_refused(data: bytes) -> None:
    for codec in (JSON, BINARY):
        for decode in (decode_event, decode_events):
            try:
                decode(data, codec)
            except EventLoggingError as error:
                assert isinstance(error, MalformedRequestError | InvalidEventError)  # noqa: PT017 - either is right


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | hostile_text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(hostile_text, inner, max_size=3),
    max_leaves=6,
)
request_fields = st.sampled_from([*(field.name for field in LogEventRequest.desc().fields), "eventName", "x"])
json_requests = st.dictionaries(request_fields, json_values)


@given(json_requests)
def test_any_json_object_is_a_request_or_refused(body: dict[str, Any]) -> None:
    try:
        decode_event(json.dumps(body).encode())
    except EventLoggingError as error:
        assert isinstance(error, MalformedRequestError | InvalidEventError)  # noqa: PT017 - either outcome is right


@given(
    st.lists(json_requests, max_size=4),
    st.sampled_from([None, 1]),
    st.dictionaries(st.text(max_size=3), json_values, max_size=2),
)
def test_each_event_of_several_is_what_it_is_alone(
    events: list[dict[str, Any]], indent: int | None, beside: dict[str, Any]
) -> None:
    others = {name: value for name, value in beside.items() if name != "events"}
    try:
        found = decode_events(json.dumps(others | {"events": events}, indent=indent).encode())
    except MalformedRequestError:
        assert "NaN" in json.dumps(others) or "Infinity" in json.dumps(others)
        return

    assert len(found) == len(events)
    for event, one in zip(events, found, strict=True):
        try:
            alone = decode_event(json.dumps(event).encode())
        except EventLoggingError as error:
            assert (type(one), fields(one)) == (type(error), fields(error))  # type: ignore[arg-type]  # noqa: PT017
        else:
            assert one == alone


@given(st.lists(json_requests.map(lambda body: {**body, "metadata": None}), max_size=4))
def test_binary_events_are_what_they_are_alone(bodies: list[dict[str, Any]]) -> None:
    requests = [sample_request(event_name=str(number), actor_id=repr(body)[:100]) for number, body in enumerate(bodies)]

    assert list(decode_events(BINARY.encode(LogEventsRequest(events=requests)), BINARY)) == requests
