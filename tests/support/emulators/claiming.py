"""Events, claims and attempts for the contract suites of the forward ledger."""

import uuid
from datetime import UTC, datetime
from typing import Any

from shared.events.attempt_history import History, HistoryEntry, HistoryKind
from shared.events.event import EventLogRow
from shared.events.forward_ledger import ClaimOutcome, ClaimResult, DeliveryRecord
from tests.support.emulators.storages import Storage
from tests.support.fakes.memory_event_log import LedgerRow
from tests.support.sample_events import sample_row

LONG = 60.0
SHORT = 0.05
AT = datetime(2026, 3, 4, 5, 6, 7, 891_011, UTC)
FAILED = HistoryEntry(HistoryKind.ATTEMPT, AT, "transient", "http_503", 503)
CONFIRMED = HistoryEntry(HistoryKind.ATTEMPT, AT, "confirmed", "http_202", 202)


def token() -> str:
    return str(uuid.uuid4())


def attempt(
    event_id: str,
    attempts: int = 1,
    reason: str = "http_202",
    status: int | None = 202,
    history: History = (),
    **suspicion: Any,
) -> DeliveryRecord:
    return DeliveryRecord(event_id, attempts, 0, AT, reason, status, history, **suspicion)


async def logged(storage: Storage, count: int = 1) -> list[str]:
    rows: list[EventLogRow] = [sample_row() for _ in range(count)]
    await storage.repository.append(rows)
    return [row.event.event_id for row in rows]


async def row_of(storage: Storage, event_id: str) -> LedgerRow:
    row = await storage.ledger_row(event_id)
    assert row is not None
    return row


def outcomes(entries: dict[str, ClaimResult]) -> list[ClaimOutcome]:
    return [entry.outcome for entry in entries.values()]


async def claim_when_expired(storage: Storage, event_id: str) -> ClaimResult:
    await storage.time_passes(SHORT)
    entry = (await storage.ledger.claim([event_id], token=token(), seconds=SHORT))[event_id]
    assert entry.outcome is ClaimOutcome.CLAIMED
    return entry
