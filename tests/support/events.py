"""Requests, rows and events, with what a test does not care about filled in."""

import math
import string
import uuid
from collections.abc import Callable
from typing import Any, Literal

from hypothesis import strategies as st
from protobuf import Oneof
from protobuf.wkt import Struct, Value

from ingress.normalization import Defaults, normalize_log_event_request
from shared.errors import InvalidEventError
from shared.events.event import Caller, CallerSource, Event, EventLogRow
from shared.events.timestamps import EARLIEST_NANOS, LATEST_NANOS
from shared.gen.events.v1.event_logging_pb import LogEventRequest

NOW = 1_790_000_000_123_456_789
ALICE = Caller("alice@example.com", CallerSource.CLOUD_RUN_IAM)
DEFAULTS = Defaults(forward_to_statsig=True, max_metadata_bytes=65_536)
EVENT_ID = "0b7f1f5e-6b0e-4d5c-9a51-3c1c4a4a8f10"

ASTRAL = "\U0001f600"
"""One code point, two UTF-16 units, four bytes."""


def normalize(
    request: LogEventRequest,
    *,
    caller: Caller = ALICE,
    now: int = NOW,
    defaults: Defaults = DEFAULTS,
    traceparent: str | None = None,
    new_uuid: Callable[[], uuid.UUID] = uuid.uuid4,
) -> EventLogRow:
    return normalize_log_event_request(
        request, caller=caller, now_nanos=now, defaults=defaults, traceparent=traceparent, new_uuid=new_uuid
    )


def log(metadata: dict[str, Any] | Struct | None = None, **fields: Any) -> LogEventRequest:
    struct = Struct.from_python(metadata) if isinstance(metadata, dict) else metadata
    return LogEventRequest(**({"event_name": "order_paid", "metadata": struct} | fields))


def violations(request: LogEventRequest, *, defaults: Defaults = DEFAULTS) -> list[tuple[str, str]]:
    """The fields and rules that a request breaks; empty where it breaks none."""
    try:
        normalize(request, defaults=defaults)
    except InvalidEventError as error:
        return [(violation.field, violation.rule) for violation in error.violations]
    return []


def number(value: float) -> Struct:
    """A Struct that JSON cannot carry, as binary protobuf can."""
    kind: Oneof[Literal["number_value"], float] = Oneof(field="number_value", value=value)
    return Struct(fields={"n": Value(kind=kind)})


def nested_objects(levels: int) -> dict[str, Any]:
    value: Any = 1
    for _ in range(levels):
        value = {"k": value}
    result: dict[str, Any] = value
    return result


def nested_lists(levels: int) -> dict[str, Any]:
    """An object and, in it, lists: so many levels together."""
    value: Any = 1
    for _ in range(levels - 1):
        value = [value]
    return {"k": value}


def event(metadata: dict[str, Any] | None = None, **fields: Any) -> Event:
    usual: dict[str, Any] = {
        "event_id": EVENT_ID,
        "event_name": "order_paid",
        "event_type": None,
        "actor_id": None,
        "event_ts_nanos": NOW,
        "metadata": metadata or {},
    }
    return Event(**(usual | fields))


# What arrives over the wire is Unicode: the codecs refuse lone surrogates.
hostile_text = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=40),
    st.sampled_from(
        [
            "",
            " ",
            "\u2003\u3000",
            "\x00",
            "a\x00b",
            r"\u0000",
            "\r\n",
            "\x1b[31m",
            "\u202e",
            "\u200b",
            "e\u0301" * 30,
            "_eventLog",
            "__proto__",
            "'; DROP TABLE NestEventLog; --",
            "{}[]<>#=;&$%|\\",
            ASTRAL * 300,
            "x" * 300,
            '"' * 200,
        ]
    ),
)

json_scalars = st.one_of(
    st.none(), st.booleans(), st.floats(), st.integers(-(2**60), 2**60).map(float), hostile_text, st.just(-0.0)
)

json_values = st.recursive(
    json_scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(hostile_text, inner, max_size=4),
    max_leaves=12,
)

json_objects = st.dictionaries(hostile_text, json_values, max_size=6)


def is_storable(value: Any) -> bool:
    """Whether normalization lets such a value pass."""
    match value:
        case float():
            return math.isfinite(value)
        case str():
            return "\x00" not in value
        case dict():
            return all(is_storable(key) and is_storable(item) for key, item in value.items())
        case list():
            return all(is_storable(item) for item in value)
        case _:
            return True


stored_metadata = json_objects.filter(lambda value: is_storable(value) and "_eventLog" not in value)

names = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=256).filter(str.strip)
labels = st.none() | st.text(string.printable.strip() + ASTRAL, min_size=1, max_size=128).filter(str.strip)

events = st.builds(
    Event,
    event_id=st.uuids().map(str),
    event_name=names,
    event_type=labels,
    actor_id=labels,
    event_ts_nanos=st.integers(EARLIEST_NANOS, LATEST_NANOS),
    metadata=stored_metadata,
)
"""Events that normalization could have made."""
