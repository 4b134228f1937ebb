"""Events and rows as ingress would make them."""

import json
import uuid
from typing import Any

from shared.events.event import RESERVED_METADATA_KEY, Event, EventLogRow
from shared.events.forward_ledger import forward_shard
from shared.traceparent import TRACEPARENT

NOW = 1_790_000_000_123_456_789
TYPICAL_NANOS = 1_763_000_000_123_456_789
EVENT_ID = "0b7f1f5e-6b0e-4d5c-9a51-3c1c4a4a8f10"

ASTRAL = "\U0001f600"
"""One code point, two UTF-16 units, four bytes."""


def sample_event(name: str = "order_paid", **fields: Any) -> Event:
    """An event with every field set; its event_id is new unless given."""
    defaults: dict[str, Any] = {
        "event_id": str(uuid.uuid4()),
        "event_type": "billing",
        "actor_id": "user-7",
        "event_ts_nanos": TYPICAL_NANOS,
        "metadata": {"amount": 12.5},
    }
    return Event(event_name=name, **defaults | fields)


def bare_event(metadata: dict[str, Any] | None = None, **fields: Any) -> Event:
    """The required fields only, and the same event_id each time."""
    required: dict[str, Any] = {
        "event_id": EVENT_ID,
        "event_name": "order_paid",
        "event_type": None,
        "actor_id": None,
        "event_ts_nanos": NOW,
        "metadata": metadata or {},
    }
    return Event(**(required | fields))


def sample_row(
    event: Event | None = None, *, forward: bool = True, metadata_json: str | None = None, **fields: Any
) -> EventLogRow:
    """The row of `event`, or of a sample event with `fields`; its write_id is new, its digest made of the event_id."""
    event = event or sample_event(**fields)
    digest = f"digest-of-{event.event_id}"
    write_id = str(uuid.uuid4())
    service: dict[str, Any] = {"schema_version": 1}
    if event.traceparent is not None:
        service[TRACEPARENT] = event.traceparent
    own = {RESERVED_METADATA_KEY: service}
    text = json.dumps(event.metadata | own, ensure_ascii=False) if metadata_json is None else metadata_json
    return EventLogRow(event, text, digest, write_id, forward_to_statsig=forward)


def in_shard(shard: int) -> str:
    """A new event_id of that forward shard."""
    while forward_shard(event_id := str(uuid.uuid4())) != shard:
        pass
    return event_id
