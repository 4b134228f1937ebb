"""What a caller is told of a body that does not decode."""

import json
from typing import Any

import pytest
from connectrpc.code import Code
from connectrpc.errors import ConnectError
from hypothesis import given
from hypothesis import strategies as st

from ingress.codec import ExplainingBinaryCodec, ExplainingJsonCodec
from shared.gen.events.v1.event_logging_pb import LogEventRequest, LogEventsRequest
from shared.gen.google.rpc.error_details_pb import BadRequest
from tests.support.events import hostile_text, log

JSON = ExplainingJsonCodec()
BINARY = ExplainingBinaryCodec()


def refusal(data: bytes, codec: ExplainingJsonCodec | ExplainingBinaryCodec = JSON) -> ConnectError:
    with pytest.raises(ConnectError) as caught:
        codec.decode(data, LogEventRequest)
    assert caught.value.code is Code.INVALID_ARGUMENT
    assert len(caught.value.message) <= 200
    return caught.value


def fields(error: ConnectError) -> dict[str, str]:
    found = [detail.value(BadRequest) for detail in error.details]
    return {v.field: v.description for one in found if one is not None for v in one.field_violations}


def test_round_trips_both_ways() -> None:
    request = log({"a": 1.5}, event_type="t")

    assert JSON.decode(JSON.encode(request), LogEventRequest) == request
    assert BINARY.decode(BINARY.encode(request), LogEventRequest) == request


def test_accepts_both_spellings_of_a_field() -> None:
    for body in (b'{"eventName":"a","actorId":"b"}', b'{"event_name":"a","actor_id":"b"}'):
        assert JSON.decode(body, LogEventRequest) == LogEventRequest(event_name="a", actor_id="b")


def test_ignores_unknown_fields() -> None:
    assert JSON.decode(b'{"event_name":"a","x":{"y":[1]}}', LogEventRequest) == LogEventRequest(event_name="a")


def test_null_is_unset() -> None:
    body = b'{"event_name":"a","event_type":null,"event_ts":null,"metadata":null,"forward_to_statsig":null}'

    assert JSON.decode(body, LogEventRequest) == LogEventRequest(event_name="a")


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
    ],
)
def test_says_where_the_body_stops_being_json(body: bytes, message: str) -> None:
    assert refusal(body).message == message


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
    assert error.message == f"{field}: {description}"


@pytest.mark.parametrize("number", [b"NaN", b"Infinity", b"-Infinity"])
def test_names_the_metadata_that_holds_no_number(number: bytes) -> None:
    assert fields(refusal(b'{"event_name":"a","metadata":{"n":' + number + b"}}")).keys() == {"metadata"}


@pytest.mark.parametrize("text", [rb"\ud800", rb"\udc00", rb"a\ud83d", b"\xed\xa0\x80"])
def test_refuses_half_a_character(text: bytes) -> None:
    assert fields(refusal(b'{"event_name":"' + text + b'"}')).keys() == {"event_name"}


def test_names_every_field_that_is_wrong() -> None:
    body = {"event_name": 1, "event_type": 2, "actor_id": 3, "event_ts": 4, "metadata": 5, "idempotency_key": 6}

    assert fields(refusal(json.dumps(body).encode())).keys() == body.keys()


def test_never_repeats_a_value_or_an_unknown_field() -> None:
    canary = "canary-7d1d0f3c"
    error = refusal(json.dumps({"event_ts": canary, "event_name": [canary], canary: canary}).encode())

    assert canary not in error.message
    assert canary not in repr(fields(error))


@pytest.mark.parametrize("start", [b"\xef\xbb\xbf", "\ufeff".encode("utf-16-le")])
def test_refuses_a_byte_order_mark(start: bytes) -> None:
    body = '{"event_name":"a"}'

    refusal(start + body.encode("utf-8" if len(start) == 3 else "utf-16-le"))


@pytest.mark.parametrize(
    "data", [b"\x0a", b"\x0a\x05a", b"\x0a\x01\xff", b"\xff" * 11, b"\x07", b"\x00", b"{}", b"\x2a\x01a"]
)
def test_says_nothing_of_a_binary_body_but_what_it_is_not(data: bytes) -> None:
    error = refusal(data, BINARY)

    assert error.message == "the body is not a binary LogEventRequest"


@given(st.binary(max_size=200))
def test_any_bytes_are_a_request_or_refused(data: bytes) -> None:
    for codec in (JSON, BINARY):
        for message in (LogEventRequest, LogEventsRequest):
            try:
                codec.decode(data, message)
            except ConnectError as error:
                assert error.code is Code.INVALID_ARGUMENT  # noqa: PT017 - either outcome is right


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | hostile_text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(hostile_text, inner, max_size=3),
    max_leaves=6,
)
request_fields = st.sampled_from([*(field.name for field in LogEventRequest.desc().fields), "eventName", "x"])


@given(st.dictionaries(request_fields, json_values))
def test_any_json_object_is_a_request_or_refused(body: dict[str, Any]) -> None:
    try:
        JSON.decode(json.dumps(body).encode(), LogEventRequest)
    except ConnectError as error:
        assert error.code is Code.INVALID_ARGUMENT  # noqa: PT017 - either outcome is right
