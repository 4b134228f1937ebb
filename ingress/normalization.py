"""Normalization: turns a request that protovalidate has passed into an event log row, or the list of rules it breaks.

Pure but for the given `new_uuid`.
"""

import hashlib
import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from protobuf.wkt import Struct, Timestamp

from shared.errors import FieldViolation, InvalidEventError
from shared.events import canonical_json
from shared.events.event import RESERVED_METADATA_KEY, Caller, Event, EventLogRow
from shared.events.event_ids import MAX_KEY_LENGTH, keyed_event_id
from shared.events.json_nesting import has_more_levels
from shared.events.statsig_projection import is_dropped_name
from shared.events.timestamps import EARLIEST_NANOS, LATEST_NANOS, NANOS_PER_SECOND
from shared.gen.events.v1.event_logging_pb import LogEventRequest
from shared.traceparent import TRACEPARENT

# In Unicode code points, after trimming: the lengths of the columns of NestEventLog.
MAX_NAME_LENGTH: Final = 256
MAX_TYPE_LENGTH: Final = 128
MAX_ACTOR_LENGTH: Final = 256

MAX_KEYS: Final = 100
"""Top-level keys of metadata. Not a rule in proto/: protovalidate 2.1 copies the whole Struct for it, which took twenty
times as long as all other rules together."""

MAX_NESTING: Final = 32
"""Levels of objects and lists in metadata, the top level included. Spanner takes 80; a log needs few."""

MAX_AHEAD_NANOS: Final = 24 * 3600 * NANOS_PER_SECOND
"""How far in the future an event may lie: a local time sent as UTC passes, nonsense does not."""

METADATA_SCHEMA_VERSION: Final = 1
"""The layout of the service's own `_eventLog` object in metadata."""

_EMPTY: Final = canonical_json.encode({})

_CONTROL_CHARACTER: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
"""The C0 and C1 control characters and DEL."""

_INVISIBLE: Final = re.compile(
    r"[\s\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u2800\u3164"
    r"\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]*"
)
"""Characters that display as nothing: white space, Default_Ignorable_Code_Point (Unicode 16) and the blank Braille
pattern."""


@dataclass(frozen=True, slots=True)
class Defaults:
    """What a deployment decides; see IngressSettings."""

    forward_to_statsig: bool
    """Applies to a request that does not set it."""

    max_metadata_bytes: int
    """The limit on the caller's metadata as canonical JSON."""


def normalize_log_event_request(
    request: LogEventRequest,
    *,
    caller: Caller,
    now_nanos: int,
    defaults: Defaults,
    traceparent: str | None = None,
    request_id: str | None = None,
    new_uuid: Callable[[], uuid.UUID] = uuid.uuid4,
) -> EventLogRow:
    """Turn a request into the row that is stored.

    `new_uuid` gives the write_id, which without an idempotency key is the event_id too. The function is long because it
    names every field of the request and of the row once.

    Raises:
        InvalidEventError: at least one rule is broken; lists all of them.
    """
    violations: list[FieldViolation] = []
    name = _text(request.event_name, "event_name", MAX_NAME_LENGTH, violations)
    event_type = _text(request.event_type, "event_type", MAX_TYPE_LENGTH, violations) or None
    actor_id = _text(request.actor_id, "actor_id", MAX_ACTOR_LENGTH, violations) or None
    key = _text(request.idempotency_key, "idempotency_key", MAX_KEY_LENGTH, violations)
    given_forward = request.forward_to_statsig if request.has_field("forward_to_statsig") else None
    forward = defaults.forward_to_statsig if given_forward is None else given_forward
    _check_name(name, violations, forward=forward)
    given_nanos = _event_ts(request.event_ts, now_nanos, violations)
    metadata, metadata_text = _metadata(request.metadata, defaults.max_metadata_bytes, violations)
    if violations:
        raise InvalidEventError(tuple(violations))

    given_ts = None if given_nanos is None else str(given_nanos)  # may exceed the 64 bits that the encoder takes
    digest = _digest([name, event_type, actor_id, given_ts], metadata_text, given_forward)
    write_id = str(new_uuid())
    event = Event(
        event_id=keyed_event_id(caller, key) if key else write_id,
        event_name=name,
        event_type=event_type,
        actor_id=actor_id,
        event_ts_nanos=now_nanos if given_nanos is None else given_nanos,
        metadata=metadata,
        traceparent=traceparent,
        caller=caller.principal or None,
    )
    return EventLogRow(
        event=event,
        metadata_json=_with_own(_own_metadata(caller, traceparent), metadata_text),
        request_digest=digest,
        write_id=write_id,
        forward_to_statsig=forward,
        request_id=request_id,
    )


def _own_metadata(caller: Caller, traceparent: str | None) -> dict[str, Any]:
    """The service's own `_eventLog` object."""
    own: dict[str, Any] = {
        "caller": {"principal": caller.principal or None, "source": caller.source.value},
        "schema_version": METADATA_SCHEMA_VERSION,
    }
    if traceparent is not None:
        own[TRACEPARENT] = traceparent
    return own


def _with_own(own: dict[str, Any], metadata_text: bytes) -> str:
    """Puts the service's own object before the caller's keys, as text: encoding the metadata again would cost time."""
    start = canonical_json.encode({RESERVED_METADATA_KEY: own})[:-1]
    rest = metadata_text[1:]
    return (start + (rest if rest == b"}" else b"," + rest)).decode()


def _text(raw: str, field: str, limit: int, violations: list[FieldViolation]) -> str:
    text = raw.strip()
    if len(text) > limit:
        violations.append(FieldViolation(field, "max_length", f"must be at most {limit} characters"))
    if _CONTROL_CHARACTER.search(text):
        violations.append(FieldViolation(field, "no_control_characters", "must not contain control characters"))
    return text


def _check_name(name: str, violations: list[FieldViolation], *, forward: bool) -> None:
    if _INVISIBLE.fullmatch(name):
        violations.append(FieldViolation("event_name", "required", "must not be empty or blank"))
    elif forward and is_dropped_name(_CONTROL_CHARACTER.sub("", name)):
        # Control characters are stripped here because they are a violation of their own (`_text`).
        violations.append(
            FieldViolation(
                "event_name",
                "statsig_name",
                r"must not contain any of \ [ ] { } < > # = ; & $ % | when it is to be forwarded: Statsig drops such "
                "events silently",
            )
        )


def _event_ts(timestamp: Timestamp | None, now_nanos: int, violations: list[FieldViolation]) -> int | None:
    if timestamp is None:
        return None
    nanos = timestamp.seconds * NANOS_PER_SECOND + timestamp.nanos
    if not 0 <= timestamp.nanos < NANOS_PER_SECOND:
        violations.append(FieldViolation("event_ts", "range", "must have nanos within 0 to 999,999,999"))
    elif not EARLIEST_NANOS <= nanos <= LATEST_NANOS:
        violations.append(FieldViolation("event_ts", "range", "must be within the years 0001 to 9999"))
    elif nanos > now_nanos + MAX_AHEAD_NANOS:
        violations.append(FieldViolation("event_ts", "not_in_future", "must not be more than 24 hours ahead"))
    return nanos


def _metadata(struct: Struct | None, max_bytes: int, violations: list[FieldViolation]) -> tuple[dict[str, Any], bytes]:
    """The metadata as a value and as its canonical text; both empty where a violation leaves nothing to work on."""
    if struct is None:
        return {}, _EMPTY
    if len(struct.fields) > MAX_KEYS:
        violations.append(FieldViolation("metadata", "max_keys", f"must have at most {MAX_KEYS} top-level keys"))
        return {}, _EMPTY
    try:
        # Through JSON text: a fifth of the time that Struct.to_python takes (protobuf-py 0.7).
        given = struct.to_json()
        metadata: dict[str, Any] = canonical_json.decode(given)
    except ValueError:
        violations.append(FieldViolation("metadata", "finite", "must not contain NaN, an infinity or an unset value"))
        return {}, _EMPTY
    if RESERVED_METADATA_KEY in metadata:
        violations.append(
            FieldViolation(f"metadata.{RESERVED_METADATA_KEY}", "reserved", "is reserved for the service")
        )
    text = canonical_json.encode(metadata)
    if has_more_levels(text, MAX_NESTING):
        violations.append(FieldViolation("metadata", "max_nesting", f"must be at most {MAX_NESTING} levels deep"))
    if rb"\u0000" in text and _has_nul(metadata):
        violations.append(FieldViolation("metadata", "no_nul", "must not contain NUL characters"))
    if len(text) > max_bytes:
        violations.append(
            FieldViolation(
                "metadata", "max_bytes", f"must be at most {max_bytes} bytes as compact JSON, is {len(text)}"
            )
        )
    return metadata, text


def _has_nul(value: Any) -> bool:
    match value:
        case str():
            return "\x00" in value
        case dict():
            return any("\x00" in key or _has_nul(item) for key, item in value.items())
        case list():
            return any(_has_nul(item) for item in value)
        case _:
            return False


def _digest(fields: list[Any], metadata_text: bytes, given_forward: bool | None) -> str:
    """The request digest: SHA-256 of the canonical text of `[*fields, metadata]` and `given_forward`, if that is set.

    It covers only what the caller sent, so that a retry has the same digest at another time or under other defaults.
    """
    text = canonical_json.encode(fields)[:-1] + b"," + metadata_text
    if given_forward is not None:
        text += b",true" if given_forward else b",false"
    return hashlib.sha256(text + b"]").hexdigest()
