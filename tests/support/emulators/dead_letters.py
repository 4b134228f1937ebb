"""Dead letters as the collector keeps them, and dead events."""

import uuid
from datetime import UTC, datetime
from typing import Any

from shared.events import forward_message
from shared.events.dead_letter_table import DeadLetterRow, LetterChoice, LetterKind
from shared.events.event import Event
from shared.events.forward_ledger import DeliveryRecord
from tests.support.emulators.storages import Storage
from tests.support.sample_events import sample_event, sample_row

AT = datetime(2026, 3, 4, 5, 6, 7, 891_011, UTC)

EVERYTHING = LetterChoice()


def letter(event: Event | None = None, *, at: datetime = AT, **fields: Any) -> DeadLetterRow:
    message = forward_message.encode(event or sample_event())
    event_id = message.attributes["event_id"]
    given: dict[str, Any] = {
        "subject": event_id,
        "message_id": uuid.uuid4().hex,
        "kind": LetterKind.REASONED,
        "reason": "http_400",
        "dead_at": at,
        "event_id": event_id,
        "event_name": message.attributes["event_name"],
        "data": message.data,
        "attributes": message.attributes | {"dead_letter_reason": "http_400"},
    }
    return DeadLetterRow(**(given | fields))


def poison(**fields: Any) -> DeadLetterRow:
    given: dict[str, Any] = {
        "subject": str(uuid.uuid4()),
        "kind": LetterKind.POISON,
        "reason": "undecodable",
        "event_id": None,
    }
    return letter(**(given | {"event_name": None, "data": b"\x00\xff", "attributes": {}} | fields))


async def logged(storage: Storage, **fields: Any) -> Event:
    event = sample_event(**fields)
    await storage.repository.append([sample_row(event)])
    return event


async def dead_event(storage: Storage) -> Event:
    event = await logged(storage)
    await settle_dead(storage, event)
    return event


async def settle_dead(storage: Storage, event: Event) -> None:
    await storage.ledger.claim([event.event_id], token="worker", seconds=60)
    await storage.ledger.settle_dead([DeliveryRecord(event.event_id, 1, 0, AT, "http_400", 400, ())], token="worker")


async def all_of(storage: Storage, subject: str) -> list[DeadLetterRow]:
    return (await storage.letters.of([subject])).get(subject, [])
