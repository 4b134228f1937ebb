"""Events and rows as ingress would make them."""

import json
import uuid
from typing import Any

from shared.events.event import RESERVED_METADATA_KEY, Event, EventLogRow
from shared.events.forward_ledger import forward_shard
from shared.telemetry.tracing import TRACEPARENT

TYPICAL_NANOS = 1_763_000_000_123_456_789


def sample_event(name: str = "order_paid", **fields: Any) -> Event:
    defaults: dict[str, Any] = {
        "event_id": str(uuid.uuid4()),
        "event_type": "billing",
        "actor_id": "user-7",
        "event_ts_nanos": TYPICAL_NANOS,
        "metadata": {"amount": 12.5},
    }
    return Event(event_name=name, **defaults | fields)


def sample_row(
    event: Event | None = None, *, forward: bool = True, metadata_json: str | None = None, **fields: Any
) -> EventLogRow:
    """Fields are the event's where none is given; the digest is made of the event_id, the write_id is new."""
    event = event or sample_event(**fields)
    digest = f"digest-of-{event.event_id}"
    write_id = str(uuid.uuid4())
    service: dict[str, Any] = {"schema_version": 1}
    if event.traceparent is not None:
        service[TRACEPARENT] = event.traceparent
    own = {RESERVED_METADATA_KEY: service}
    text = json.dumps(event.metadata | own, ensure_ascii=False) if metadata_json is None else metadata_json
    return EventLogRow(event, text, digest, None, write_id, forward_to_statsig=forward)


def in_shard(shard: int) -> str:
    """A new event_id of that forward shard."""
    while forward_shard(event_id := str(uuid.uuid4())) != shard:
        pass
    return event_id
