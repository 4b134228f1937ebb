"""Properties that normalization has for every request."""

import uuid
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st
from protobuf import Oneof
from protobuf.wkt import ListValue, NullValue, Struct, Timestamp, Value

from ingress.normalization import Defaults
from shared.errors import InvalidEventError
from shared.events import canonical_json
from shared.events.event import Caller, CallerSource, EventLogRow
from shared.gen.events.v1.event_logging_pb import LogEventRequest
from tests.support.sample_requests import DEFAULTS, normalize, sample_request
from tests.support.strategies import hostile_text, json_objects, stored_metadata


def _value(value: Any) -> Value:
    kind: Any
    match value:
        case None:
            kind = Oneof(field="null_value", value=NullValue.NULL_VALUE)
        case bool():
            kind = Oneof(field="bool_value", value=value)
        case float() | int():
            kind = Oneof(field="number_value", value=float(value))
        case str():
            kind = Oneof(field="string_value", value=value)
        case list():
            kind = Oneof(field="list_value", value=ListValue(values=[_value(item) for item in value]))
        case _:
            kind = Oneof(field="struct_value", value=_struct(value))
    return Value(kind=kind)


def _struct(fields: dict[str, Any]) -> Struct:
    return Struct(fields={key: _value(item) for key, item in fields.items()})


timestamps = st.builds(
    Timestamp,
    seconds=st.integers(-(2**63), 2**63 - 1) | st.integers(-(10**11), 10**12),
    nanos=st.integers(-(2**31), 2**31 - 1) | st.integers(0, 999_999_999),
)

requests = st.builds(
    LogEventRequest,
    event_name=hostile_text,
    event_type=hostile_text,
    actor_id=hostile_text,
    event_ts=st.none() | timestamps,
    metadata=st.none() | json_objects.map(_struct),
    forward_to_statsig=st.none() | st.booleans(),
    idempotency_key=hostile_text,
)

callers = st.builds(Caller, principal=st.sampled_from(["", "a@b.c", "x" * 320]), source=st.sampled_from(CallerSource))


def fixed_uuid() -> uuid.UUID:
    return uuid.UUID(int=42, version=4)


def outcome(request: LogEventRequest, caller: Caller) -> EventLogRow | tuple[Any, ...]:
    """With the one thing fixed that differs between calls: the write_id, which is an unkeyed event's id too."""
    try:
        return normalize(request, caller=caller, new_uuid=fixed_uuid)
    except InvalidEventError as error:
        return error.violations


@given(requests, callers)
def test_every_request_becomes_a_row_or_a_list_of_violations(request: LogEventRequest, caller: Caller) -> None:
    result = outcome(request, caller)

    if isinstance(result, EventLogRow):
        event = result.event
        assert 1 <= len(event.event_name) <= 256
        assert event.event_type is None or 1 <= len(event.event_type) <= 128
        assert event.actor_id is None or 1 <= len(event.actor_id) <= 256
        assert not any("\x00" in (text or "") for text in (event.event_name, event.event_type, event.actor_id))
    else:
        assert result


@given(requests, callers)
def test_the_same_request_gives_the_same_outcome(request: LogEventRequest, caller: Caller) -> None:
    assert outcome(request, caller) == outcome(request, caller)


@given(requests, callers)
def test_it_matters_not_how_the_request_travelled(request: LogEventRequest, caller: Caller) -> None:
    assert outcome(LogEventRequest.from_binary(request.to_binary()), caller) == outcome(request, caller)


@given(stored_metadata)
@example({"n": 2.0**53, "m": 2.0**53 - 1, "z": -0.0, "e": 1e22})
def test_stored_metadata_is_canonical(metadata: dict[str, Any]) -> None:
    row = normalize(sample_request(metadata))

    stored = canonical_json.decode(row.metadata_json)
    own = {"_eventLog": stored.pop("_eventLog")}
    text = canonical_json.encode(stored)
    assert canonical_json.decode(text) == stored == row.event.metadata
    assert row.metadata_json.encode() == canonical_json.encode(own)[:-1] + (b"," if stored else b"") + text[1:]
    assert stored.keys() == metadata.keys()


@given(stored_metadata, st.integers(2, 400))
def test_the_size_limit_is_measured_on_the_callers_part(metadata: dict[str, Any], limit: int) -> None:
    size = len(canonical_json.encode(normalize(sample_request(metadata)).event.metadata))
    request = sample_request(metadata, idempotency_key="key")

    try:
        normalize(request, defaults=Defaults(forward_to_statsig=True, max_metadata_bytes=limit))
    except InvalidEventError as error:
        assert size > limit
        assert [violation.rule for violation in error.violations] == ["max_bytes"]  # noqa: PT017 - either is right
    else:
        assert size <= limit


@given(hostile_text, hostile_text)
@settings(max_examples=200)
def test_trimming_twice_is_trimming_once(name: str, label: str) -> None:
    request = sample_request(
        event_name=name, event_type=label, actor_id=label, idempotency_key="key", forward_to_statsig=False
    )
    try:
        once = normalize(request, new_uuid=fixed_uuid)
    except InvalidEventError:
        return
    event = once.event
    again = sample_request(
        event_name=event.event_name,
        event_type=event.event_type or "",
        actor_id=event.actor_id or "",
        idempotency_key="key",
        forward_to_statsig=False,
    )

    assert normalize(again, defaults=DEFAULTS, new_uuid=fixed_uuid) == once
