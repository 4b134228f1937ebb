r"""The projection of an event onto the part that Statsig keeps. Pure; never raises.

The worker sends the projection. Ingress makes it too, and warns the caller at once about what Statsig would cut or drop
silently. Facts from Statsig's public documentation (guides/logging-events, metrics/raw-events), read 2026:

- metadata is a map of string to string;
- an object field keeps 4,096 characters of its stringified form, a string field 64;
- an event whose name contains any of `\ [ ] { } < > # = ; & $ % |`, NUL, CR or LF is dropped after a 202.

Statsig does not document whether it counts code points or UTF-16 units; the larger number, of UTF-16 units, is used
here.
"""

import json
import re
from dataclasses import dataclass
from typing import Any, Final

from shared.events import canonical_json
from shared.events.event import Event

# UTF-16 units that Statsig keeps.
STRING_FIELD_LIMIT: Final = 64
OBJECT_FIELD_LIMIT: Final = 4096

CUT_LIST_KEY: Final = "_truncated"
"""The metadata key under which the projection lists the keys that it cut or left out, separated by commas."""

OWN_KEYS: Final = ("event_id", "event_type", "actor_id", CUT_LIST_KEY)
"""Metadata keys that the service sets. A caller's value is left out even if the service sets none, so that it is never
taken for the service's."""

CUT_LIST_LIMIT: Final = 512
"""UTF-16 units reserved for that list if anything is cut: an eighth of the object, some thirty keys."""

SHORTEST_CUT_VALUE: Final = 16
"""A value of which fewer characters would be left is left out whole: the rest would be useless."""

NAME_DROPPED: Final = "statsig_name_dropped"
"""The `reason` of the warning that Statsig drops the event for its name."""

_DROPPED_NAME: Final = re.compile(r"[\\\[\]{}<>#=;&$%|\x00\r\n]")


@dataclass(frozen=True, slots=True)
class StatsigEvent:
    """An event as it is sent to Statsig."""

    event_id: str
    name: str
    value: str | float | None
    metadata: dict[str, str]

    time_ms: int
    """The event's own time, in milliseconds since the Unix epoch."""

    traceparent: str | None = None
    """The event's traceparent. Not sent."""


@dataclass(frozen=True, slots=True)
class ProjectionWarning:
    """One part of the event that Statsig would not keep as it is. Names the field, never its value."""

    field: str
    reason: str
    description: str


@dataclass(frozen=True, slots=True)
class Projection:
    event: StatsigEvent
    warnings: tuple[ProjectionWarning, ...]


def is_dropped_name(name: str) -> bool:
    """Whether Statsig silently drops every event with this name."""
    return _DROPPED_NAME.search(name) is not None


def project(event: Event) -> Projection:
    """Project an event; `warnings` lists everything that Statsig would not keep as it is. Never raises."""
    warnings: list[ProjectionWarning] = []
    if is_dropped_name(event.event_name):
        warnings.append(
            ProjectionWarning(
                "event_name", NAME_DROPPED, "Statsig drops every event whose name contains such a character"
            )
        )
    name = _cut(event.event_name, STRING_FIELD_LIMIT)
    if name != event.event_name:
        warnings.append(
            ProjectionWarning(
                "event_name", "statsig_name_cut", f"Statsig keeps the first {STRING_FIELD_LIMIT} characters of a name"
            )
        )
    return Projection(
        StatsigEvent(
            event_id=event.event_id,
            name=name,
            value=_value(event.metadata.get("value"), warnings),
            metadata=_metadata(event, warnings),
            time_ms=event.event_ts_nanos // 1_000_000,
            traceparent=event.traceparent,
        ),
        tuple(warnings),
    )


def _value(value: Any, warnings: list[ProjectionWarning]) -> str | float | None:
    """A number or string under the metadata key `value` is the event's value; anything else only stays metadata."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    if not isinstance(value, str):
        return value
    cut = _cut(value, STRING_FIELD_LIMIT)
    if cut != value:
        warnings.append(
            ProjectionWarning(
                "metadata.value",
                "statsig_value_cut",
                f"Statsig keeps the first {STRING_FIELD_LIMIT} characters of a string value",
            )
        )
    return cut


def _metadata(event: Event, warnings: list[ProjectionWarning]) -> dict[str, str]:
    own = {"event_id": event.event_id}
    if event.event_type is not None:
        own["event_type"] = event.event_type
    if event.actor_id is not None:
        own["actor_id"] = event.actor_id
    warnings.extend(
        ProjectionWarning(
            f"metadata.{key}", "statsig_metadata_replaced", "Statsig receives the service's own value here, or none"
        )
        for key in OWN_KEYS
        if key in event.metadata
    )
    # The key `value` stays in the metadata too: a string that is cut in the value field is whole there.
    theirs = {key: _as_string(item) for key, item in event.metadata.items() if key not in OWN_KEYS}
    whole = own | theirs
    if _is_surely_small(whole) or _object_size(whole) <= OBJECT_FIELD_LIMIT:
        return whole
    return _fitted(own, theirs, warnings)


def _fitted(own: dict[str, str], theirs: dict[str, str], warnings: list[ProjectionWarning]) -> dict[str, str]:
    """Metadata cut to OBJECT_FIELD_LIMIT, the longest values first: one huge value must not displace twenty small ones.

    Adds a warning for each key that is cut or left out.
    """
    kept = dict(own)
    cut: list[str] = []
    room = OBJECT_FIELD_LIMIT - CUT_LIST_LIMIT - _object_size(own)
    by_size = sorted(theirs, key=lambda key: (_entry_size(key, theirs[key]), key))
    for key in by_size:
        size = _entry_size(key, theirs[key])
        if size <= room:
            kept[key] = theirs[key]
            room -= size
            continue
        cut.append(key)
        shortened = _cut_encoded(theirs[key], room - _entry_size(key, ""))
        if len(shortened) >= SHORTEST_CUT_VALUE:
            kept[key] = shortened
            room -= _entry_size(key, shortened)
            reason, what = "statsig_metadata_cut", "cut"
        else:
            reason, what = "statsig_metadata_dropped", "left out"
        warnings.append(
            ProjectionWarning(
                f"metadata.{key}",
                reason,
                f"{what} at Statsig, which keeps {OBJECT_FIELD_LIMIT} characters of all metadata together",
            )
        )
    kept[CUT_LIST_KEY] = _cut_encoded(",".join(sorted(cut)), CUT_LIST_LIMIT - _entry_size(CUT_LIST_KEY, ""))
    return kept


def _as_string(value: Any) -> str:
    """Strings as they are; everything else as canonical JSON, which a reader can parse again."""
    return value if isinstance(value, str) else canonical_json.encode(value).decode()


def _units(text: str) -> int:
    """The length in UTF-16 units."""
    return len(text) if text.isascii() else len(text.encode("utf-16-le", "surrogatepass")) // 2


def _cut(text: str, limit: int) -> str:
    """The first `limit` UTF-16 units, without half a surrogate pair."""
    if _units(text) <= limit:
        return text
    return text.encode("utf-16-le", "surrogatepass")[: limit * 2].decode("utf-16-le", "ignore")


def _encoded_units(text: str) -> int:
    """The length of a string's JSON form in UTF-16 units, with escapes and without the quotes."""
    return _units(json.dumps(text, ensure_ascii=False)) - 2


def _cut_encoded(text: str, limit: int) -> str:
    """The longest prefix whose JSON form, escapes included, fits into `limit` units; empty if none does."""
    if limit <= 0:
        return ""
    if _encoded_units(text) <= limit:
        return text
    low, high = 0, min(len(text), limit)
    while low < high:
        middle = (low + high + 1) // 2
        if _encoded_units(text[:middle]) <= limit:
            low = middle
        else:
            high = middle - 1
    return text[:low]


def _entry_size(key: str, value: str) -> int:
    """UTF-16 units that an entry adds to the stringified object, with two pairs of quotes, a colon and a comma."""
    return _encoded_units(key) + _encoded_units(value) + 6


def _is_surely_small(entries: dict[str, str]) -> bool:
    """Whether the stringified object fits by its length in UTF-8, which is never below that in UTF-16 units.

    Decides for nearly every event, in a fiftieth of the time that the exact size takes.
    """
    try:
        return len(canonical_json.encode(entries)) <= OBJECT_FIELD_LIMIT
    except TypeError:
        return False  # an unpaired surrogate, which has no UTF-8 form


def _object_size(entries: dict[str, str]) -> int:
    return 1 + sum(_entry_size(key, value) for key, value in entries.items())
