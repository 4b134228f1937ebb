"""The demo's 200 events: the kinds that callers send, and five that must be refused. Pure."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from protobuf.wkt import Struct, Timestamp

from shared.events import canonical_json
from shared.gen.events.v1.event_logging_pb import LogEventRequest

TOTAL: Final = 200

LARGEST_METADATA_BYTES: Final = 65_536
"""The default of MAX_METADATA_BYTES."""


@dataclass(frozen=True, slots=True)
class DemoEvent:
    kind: str
    request: LogEventRequest

    forwarded: bool = True
    """Whether it must reach Statsig."""

    refused: bool = False
    duplicate_of: int | None = None
    """The index of the event that this one retries: both must be answered with one event_id."""


def demo_events(run: str, now: datetime) -> list[DemoEvent]:
    """All of them. `run` makes the idempotency keys unique to one run."""
    events = [
        _event("no metadata", "demo_plain"),
        _event("unicode", "Bestellung_bezahlt_Grüße_你好_🎉", metadata={"gruß": "Grüße 你好 🎉", "rtl": "שלום"}),
        _event("64 KiB of metadata", "demo_large", metadata=_metadata_of(LARGEST_METADATA_BYTES)),
        _event("forwarding asked for", "demo_forwarded", forward=True),
        _event("forwarding declined", "demo_kept", forward=False),
        _event("dropped name, kept", "demo#kept", forward=False),
        _event("years ago", "demo_past", at=datetime(1999, 12, 31, 23, 59, 59, 123456, UTC)),
        _event("a month ago", "demo_past", at=now - timedelta(days=30)),
        _event("numeric value", "demo_value", metadata={"value": 12.5, "currency": "EUR"}),
        _event("nested metadata", "demo_nested", metadata={"order": {"items": [1, 2.5, None, True, {"sku": "a"}]}}),
    ]
    keyed = len(events)
    events.append(_event("idempotency key", "demo_keyed", key=f"{run}-once"))
    events.append(_event("the same key again", "demo_keyed", key=f"{run}-once", duplicate_of=keyed))
    events += [
        _event("refused: blank name", "   ", refused=True),
        _event("refused: name Statsig drops", "demo#forwarded", forward=True, refused=True),
        _event("refused: metadata too large", "demo", metadata=_metadata_of(LARGEST_METADATA_BYTES + 1), refused=True),
        _event("refused: reserved key", "demo", metadata={"_eventLog": {}}, refused=True),
        _event("refused: 25 hours ahead", "demo", at=now + timedelta(hours=25), refused=True),
    ]
    events += [
        _event("ordinary", f"demo_step_{number % 7}", metadata={"number": number, "value": number})
        for number in range(TOTAL - len(events))
    ]
    return events


def _event(
    kind: str,
    name: str,
    *,
    metadata: dict[str, Any] | None = None,
    forward: bool | None = None,
    at: datetime | None = None,
    key: str = "",
    refused: bool = False,
    duplicate_of: int | None = None,
) -> DemoEvent:
    request = LogEventRequest(
        event_name=name,
        event_type="demo",
        actor_id="demo-actor",
        metadata=None if metadata is None else Struct.from_python(metadata),
        event_ts=None if at is None else Timestamp.from_datetime(at),
        forward_to_statsig=forward,
        idempotency_key=key,
    )
    return DemoEvent(kind, request, forward is not False and not refused, refused, duplicate_of)


def _metadata_of(size: int) -> dict[str, Any]:
    """Metadata of exactly that many bytes as canonical JSON."""
    empty = len(canonical_json.encode({"text": ""}))
    return {"text": "x" * (size - empty)}
