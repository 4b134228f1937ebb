"""Random requests for the fuzzer: wrong in their structure, or in their bytes."""

import gzip
import json
from dataclasses import dataclass
from typing import Any, Final

from hypothesis import strategies as st
from protobuf.wkt import Struct, Timestamp

from shared.gen.events.v1.event_logging_pb import LogEventRequest, LogEventsRequest
from tests.support.strategies import hostile_text, json_values
from tests.support.wire.http1 import JSON, LOG_EVENT, LOG_EVENTS, PROTO

PLANTED: Final = "planted-7d1d0f3c"
"""Part of values in every request. No answer and no log line may repeat it."""

FIELDS: Final = [name for field in LogEventRequest.desc().fields for name in (field.name, field.json_name)]


@dataclass(frozen=True)
class Strange:
    """A request of the fuzzer."""

    path: str
    headers: dict[str, str]
    body: bytes

    def __repr__(self) -> str:
        return f"Strange({self.path!r}, {self.headers!r}, {self.body[:2000]!r})"


_planted = st.sampled_from([PLANTED, f"{PLANTED}\x00", f" {PLANTED}", PLANTED * 30, PLANTED * 300])
_names = st.sampled_from([f"paid {PLANTED}"]) | st.sampled_from(["", " ", "a;b", "x" * 257]) | hostile_text | _planted
_keys = hostile_text | st.sampled_from(["k", "value", "_eventLog", "event_id", "_truncated"])
_numbers = st.integers(-(10**30), 10**30) | st.floats() | st.sampled_from([10**400, -0.0, 2**53 + 1, 1e308])
_leaves = st.none() | st.booleans() | _numbers | hostile_text | _planted
_values = st.recursive(
    _leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_keys, inner, max_size=4), max_leaves=20
)
_timestamps = st.sampled_from(["2026-01-01T00:00:00Z", "0000-01-01T00:00:00Z", "9999-12-31T23:59:60Z", "yesterday", ""])

_likely: Final[dict[str, st.SearchStrategy[Any]]] = {
    "event_name": _names,
    "eventName": _names,
    "event_type": _planted | hostile_text,
    "actor_id": _planted | hostile_text,
    "event_ts": _timestamps,
    "metadata": st.dictionaries(_keys, _values, max_size=6),
    "forward_to_statsig": st.booleans(),
    "idempotency_key": st.sampled_from(["a", "b", ""]) | hostile_text,
}

_others = {name: values for name, values in _likely.items() if name != "event_name"}
_json_events = st.one_of(
    st.fixed_dictionaries({"event_name": _names}, optional=_others),
    st.fixed_dictionaries({}, optional=_likely | {"x": _values}),
    st.dictionaries(st.sampled_from(FIELDS), _values, max_size=4),
)

_json_bodies = st.one_of(
    _json_events.map(lambda event: (LOG_EVENT, event)),
    st.lists(_json_events | _values, max_size=5).map(lambda events: (LOG_EVENTS, {"events": events})),
    st.dictionaries(st.sampled_from(["events", "x"]), _values, max_size=2).map(lambda body: (LOG_EVENTS, body)),
    st.tuples(st.sampled_from([LOG_EVENT, LOG_EVENTS]), _values),
)


def _struct(value: dict[str, Any]) -> Struct | None:
    try:
        return Struct.from_python(value)
    except (ValueError, TypeError, OverflowError):
        return None


_binary_events = st.builds(
    LogEventRequest,
    event_name=_names,
    event_type=_planted | hostile_text,
    actor_id=_planted | hostile_text,
    event_ts=st.none()
    | st.builds(Timestamp, seconds=st.integers(-(2**63), 2**63 - 1), nanos=st.integers(-(2**31), 2**31 - 1)),
    metadata=st.dictionaries(_keys, json_values, max_size=4).map(_struct),
    idempotency_key=st.sampled_from(["a", "b", ""]),
)

_binary_bodies = st.one_of(
    _binary_events.map(lambda event: (LOG_EVENT, event.to_binary())),
    st.lists(_binary_events, max_size=4).map(lambda events: (LOG_EVENTS, LogEventsRequest(events=events).to_binary())),
)

_snippets = st.binary(max_size=4) | st.sampled_from(
    [
        b'"',
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b":",
        b"\\",
        b"\\u0000",
        b"\\ud800",
        b"NaN",
        b"1e999",
        b"null",
        b"\xff",
        b"\x0a",
    ]
)


@st.composite
def _mutated(draw: st.DrawFn, bodies: st.SearchStrategy[tuple[str, bytes]]) -> tuple[str, bytes]:
    """The body with a few places replaced."""
    path, body = draw(bodies)
    for _ in range(draw(st.sampled_from([0, 0, 0, 0, 1, 2, 3]))):
        at = draw(st.integers(0, len(body)))
        end = min(len(body), at + draw(st.sampled_from([0, 0, 1, 2, 8, 1000])))
        body = body[:at] + draw(_snippets) * draw(st.sampled_from([1, 1, 2, 600])) + body[end:]
    return path, body


@st.composite
def _compressed(draw: st.DrawFn, body: bytes) -> tuple[dict[str, str], bytes]:
    kind = draw(st.sampled_from(["none", "none", "none", "gzip", "members", "cut", "not at all"]))
    match kind:
        case "none":
            return {}, body
        case "gzip":
            packed = gzip.compress(body)
        case "members":
            middle = len(body) // 2
            packed = (
                gzip.compress(body[:middle])
                + gzip.compress(b"") * draw(st.integers(0, 120))
                + gzip.compress(body[middle:])
            )
        case "cut":
            packed = gzip.compress(body)[: draw(st.integers(0, 60))]
        case _:
            packed = body
    return {"content-encoding": "gzip"}, packed


_headers = st.sampled_from(
    [
        *[{}] * 20,
        {"connect-timeout-ms": PLANTED},
        {"connect-timeout-ms": "99999999999"},
        {"connect-protocol-version": PLANTED * 100},
        {"authorization": f"Bearer {PLANTED}.{PLANTED}.{PLANTED}"},
        {"x-goog-iap-jwt-assertion": PLANTED},
        {"x-request-id": PLANTED},
    ]
)


@st.composite
def strange_requests(draw: st.DrawFn) -> Strange:
    as_json = draw(st.booleans())
    bodies = _json_bodies.map(lambda each: (each[0], json.dumps(each[1]).encode())) if as_json else _binary_bodies
    path, body = draw(_mutated(bodies))
    headers, body = draw(_compressed(body))
    return Strange(path, (JSON if as_json else PROTO) | headers | draw(_headers), body)
