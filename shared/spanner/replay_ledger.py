"""The part of the forward ledger that replays dead events, on Spanner."""

import uuid
from collections.abc import Sequence
from typing import Any, Final

from shared.events.dead_letter_table import Closing
from shared.events.event import Event
from shared.events.forward_ledger import LEDGER_TABLE
from shared.events.replay_ledger import ReopenOutcome, ReopenResult
from shared.spanner import forward_ledger_rows as table
from shared.spanner import mutations
from shared.spanner.connection import spanner_call
from shared.spanner.dead_letters import close_open
from shared.spanner.event_log import LOG_TABLE
from shared.spanner.event_rows import EVENT_COLUMNS, EventRow
from shared.spanner.reading import read_by_key
from shared.spanner.transactions import Transactions, current_time

_CLOSED_BY: Final = {
    ReopenOutcome.REOPENED: Closing.REPLAYED,
    ReopenOutcome.PENDING: Closing.REPLAYED,
    ReopenOutcome.DELIVERED: Closing.DELIVERED,
}


class SpannerReplayLedger:
    """ReplayLedger on NestEventForward, NestEventLog and NestEventDeadLetter."""

    def __init__(self, transactions: Transactions, *, timeout_seconds: float) -> None:
        """`transactions` are those of the SpannerForwardLedger on the same database."""
        self._transactions = transactions
        self._timeout_seconds = timeout_seconds

    async def reopen(self, event_ids: Sequence[str], *, max_replays: int) -> dict[str, ReopenResult]:
        async def work(transaction: Any) -> dict[str, ReopenResult]:
            found: dict[str, ReopenResult] = {}
            rows: list[tuple[object, ...]] = []
            taken: list[tuple[object, ...]] = []
            now = await current_time(transaction)
            for values in await read_by_key(transaction, LEDGER_TABLE, table.READ_FOR_REOPENING, event_ids):
                row = table.ReopenableRow(*values)
                result = found[row.event_id] = row.reopened(now, max_replays)
                if result.found is ReopenOutcome.REOPENED:
                    rows.append(table.reopened_values(row, result, now))
                elif result.found is ReopenOutcome.PENDING and row.claim_token is not None:
                    # The holder of the expired claim could else still settle the event as dead after this replay.
                    taken.append(table.claim_values(row.event_id, str(uuid.uuid4()), now))
            _update(transaction, table.CLAIM_COLUMNS, taken)
            _update(transaction, table.REOPENED_COLUMNS, rows)
            return await _with_letters_closed(transaction, found)

        found = await self._transactions.run(work, within_seconds=self._timeout_seconds) if event_ids else {}
        return {event_id: found.get(event_id, ReopenResult(event_id, ReopenOutcome.MISSING)) for event_id in event_ids}

    async def events(self, event_ids: Sequence[str]) -> dict[str, Event]:
        async with spanner_call(self._timeout_seconds), self._transactions.database.snapshot() as snapshot:
            rows = [EventRow(*values) for values in await read_by_key(snapshot, LOG_TABLE, EVENT_COLUMNS, event_ids)]
        return {row.event_id: row.event() for row in rows if row.is_event()}


async def _with_letters_closed(transaction: Any, found: dict[str, ReopenResult]) -> dict[str, ReopenResult]:
    """Close the letters of these events within the transaction, and set `had_letter`."""
    with_letter: set[str] = set()
    for by in (Closing.REPLAYED, Closing.DELIVERED):
        subjects = [each.event_id for each in found.values() if _CLOSED_BY.get(each.found) is by]
        with_letter |= await close_open(transaction, subjects, by)
    return {
        event_id: ReopenResult(event_id, each.found, each.replays, event_id in with_letter)
        for event_id, each in found.items()
    }


def _update(buffer: Any, columns: tuple[str, ...], rows: Sequence[tuple[object, ...]]) -> None:
    if rows:
        mutations.update(buffer, LEDGER_TABLE, columns, rows)
