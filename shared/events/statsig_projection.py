r"""The projection of an event onto what Statsig keeps of one: pure, total, the same at both ends.

The worker sends it; ingress compares it with the event, so that a caller learns at once what Statsig would cut or
drop without a word. Facts from Statsig's public documentation (guides/logging-events, metrics/raw-events), read 2026:

- metadata is a map of string to string;
- an object field keeps 4,096 characters of its stringified form, a string field 64;
- an event whose name contains any of `\ [ ] { } < > # = ; & $ % |`, NUL, CR or LF is dropped after a 202.

Whether Statsig counts code points or UTF-16 units is not documented; the larger of the two, UTF-16, is counted here.
"""

import json
import re
from dataclasses import dataclass
from typing import Any, Final

from shared.events import canonical_json
from shared.events.event import Event

STRING_FIELD_LIMIT: Final = 64
OBJECT_FIELD_LIMIT: Final = 4096

CUT_LIST_KEY: Final = "_truncated"
"""The metadata key under which the projection lists the keys it cut or left out, comma-separated."""

OWN_KEYS: Final = ("event_id", "event_type", "actor_id", CUT_LIST_KEY)
"""Keys whose value is the service's. A caller's value is left out also where the service has none, so that it is never
taken for ours."""

CUT_LIST_LIMIT: Final = 512
"""Characters kept free for that list where anything is cut: an eighth of the object, some thirty keys."""

SHORTEST_CUT_VALUE: Final = 16
"""A value of which fewer characters would fit is left out whole: a stump tells nobody anything."""

NAME_DROPPED: Final = "statsig_name_dropped"

_DROPPED_NAME: Final = re.compile(r"[\\\[\]{}<>#=;&$%|\x00\r\n]")


@dataclass(frozen=True, slots=True)
class StatsigEvent:
    """What is sent. `time_ms` is the event's own time, in milliseconds since the Unix epoch."""

    event_id: str
    name: str
    value: str | float | None
    metadata: dict[str, str]
    time_ms: int
    traceparent: str | None = None
    """The event's. Not sent."""


@dataclass(frozen=True, slots=True)
class ProjectionWarning:
    """One difference between the event and what Statsig keeps of it. Names the field, never its value."""

    field: str
    reason: str
    description: str


@dataclass(frozen=True, slots=True)
class Projection:
    event: StatsigEvent
    losses: tuple[ProjectionWarning, ...]


def is_dropped_name(name: str) -> bool:
    """Whether Statsig drops every event of this name without saying so."""
    return _DROPPED_NAME.search(name) is not None


def project(event: Event) -> Projection:
    """Project an event; `losses` lists everything that Statsig would not keep as it is."""
    losses: list[ProjectionWarning] = []
    if is_dropped_name(event.event_name):
        losses.append(
            ProjectionWarning(
                "event_name", NAME_DROPPED, "Statsig drops every event whose name contains such a character"
            )
        )
    name = _cut(event.event_name, STRING_FIELD_LIMIT)
    if name != event.event_name:
        losses.append(
            ProjectionWarning(
                "event_name", "statsig_name_cut", f"Statsig keeps the first {STRING_FIELD_LIMIT} characters of a name"
            )
        )
    return Projection(
        StatsigEvent(
            event_id=event.event_id,
            name=name,
            value=_value(event.metadata.get("value"), losses),
            metadata=_metadata(event, losses),
            time_ms=event.event_ts_nanos // 1_000_000,
            traceparent=event.traceparent,
        ),
        tuple(losses),
    )


def _value(value: Any, losses: list[ProjectionWarning]) -> str | float | None:
    """A number or a string under the key `value` becomes the event's value; anything else stays metadata only."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    if not isinstance(value, str):
        return value
    cut = _cut(value, STRING_FIELD_LIMIT)
    if cut != value:
        losses.append(
            ProjectionWarning(
                "metadata.value",
                "statsig_value_cut",
                f"Statsig keeps the first {STRING_FIELD_LIMIT} characters of a string value",
            )
        )
    return cut


def _metadata(event: Event, losses: list[ProjectionWarning]) -> dict[str, str]:
    own = {"event_id": event.event_id}
    if event.event_type is not None:
        own["event_type"] = event.event_type
    if event.actor_id is not None:
        own["actor_id"] = event.actor_id
    losses.extend(
        ProjectionWarning(
            f"metadata.{key}", "statsig_metadata_replaced", "Statsig receives the service's own value here, or none"
        )
        for key in OWN_KEYS
        if key in event.metadata
    )
    # The key `value` stays in the metadata too: a string cut for the value field survives there.
    theirs = {key: _as_string(item) for key, item in event.metadata.items() if key not in OWN_KEYS}
    whole = own | theirs
    if _is_surely_small(whole) or _object_size(whole) <= OBJECT_FIELD_LIMIT:
        return whole
    return _fitted(own, theirs, losses)


def _fitted(own: dict[str, str], theirs: dict[str, str], losses: list[ProjectionWarning]) -> dict[str, str]:
    """Keep the short values whole and cut the long ones: one huge value must not push out twenty small ones."""
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
        losses.append(
            ProjectionWarning(
                f"metadata.{key}",
                reason,
                f"{what} at Statsig, which keeps {OBJECT_FIELD_LIMIT} characters of all metadata together",
            )
        )
    kept[CUT_LIST_KEY] = _cut_encoded(",".join(sorted(cut)), CUT_LIST_LIMIT - _entry_size(CUT_LIST_KEY, ""))
    return kept


def _as_string(value: Any) -> str:
    """Strings as they are; everything else as canonical JSON, which is what a reader can parse again."""
    return value if isinstance(value, str) else canonical_json.encode(value).decode()


def _units(text: str) -> int:
    """The length in UTF-16 units."""
    return len(text) if text.isascii() else len(text.encode("utf-16-le", "surrogatepass")) // 2


def _cut(text: str, limit: int) -> str:
    if _units(text) <= limit:
        return text
    return text.encode("utf-16-le", "surrogatepass")[: limit * 2].decode("utf-16-le", "ignore")


def _encoded_units(text: str) -> int:
    return _units(json.dumps(text, ensure_ascii=False)) - 2


def _cut_encoded(text: str, limit: int) -> str:
    """The longest prefix whose JSON form, escapes included, fits into `limit` units; empty where none does."""
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
    """What an entry adds to the stringified object: two pairs of quotes, a colon, a comma."""
    return _encoded_units(key) + _encoded_units(value) + 6


def _is_surely_small(entries: dict[str, str]) -> bool:
    """Whether the stringified object fits, by its length in UTF-8, which is at least that in UTF-16 units.

    Tells nearly every event in a fiftieth of the time that the exact size takes.
    """
    try:
        return len(canonical_json.encode(entries)) <= OBJECT_FIELD_LIMIT
    except TypeError:
        return False  # a surrogate by itself, which has no UTF-8


def _object_size(entries: dict[str, str]) -> int:
    return 1 + sum(_entry_size(key, value) for key, value in entries.items())
