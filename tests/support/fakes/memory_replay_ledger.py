"""The operators' part of the forward ledger in memory."""

import uuid
from collections.abc import Sequence

from shared.events.attempt_history import HistoryKind
from shared.events.dead_letter_table import Closing
from shared.events.event import Event
from shared.events.forward_ledger import ForwardState
from shared.events.replay_ledger import ReopenOutcome, ReopenResult
from tests.support.fakes.memory_dead_letter_table import MemoryDeadLetterTable
from tests.support.fakes.memory_event_log import LedgerRow, MemoryStore
from tests.support.fakes.scripted_failures import ScriptedFailures

_CLOSED_BY = {
    ReopenOutcome.REOPENED: Closing.REPLAYED,
    ReopenOutcome.PENDING: Closing.REPLAYED,
    ReopenOutcome.DELIVERED: Closing.DELIVERED,
}


class MemoryReplayLedger:
    """ReplayLedger on a MemoryStore. Each call is one transaction: it awaits nothing between its reads and writes."""

    def __init__(self, store: MemoryStore, *, failures: ScriptedFailures | None = None) -> None:
        self._store = store
        self._letters = MemoryDeadLetterTable(store)
        self.failures = failures or ScriptedFailures()

    async def reopen(self, event_ids: Sequence[str], *, max_replays: int) -> dict[str, ReopenResult]:
        async with self.failures.around("reopen"):
            found = {event_id: self._reopen(event_id, max_replays) for event_id in dict.fromkeys(event_ids)}
            for event_id, each in found.items():
                by = _CLOSED_BY.get(each.found)
                if by is not None and await self._letters.close([event_id], by):
                    found[event_id] = ReopenResult(event_id, each.found, each.replays, had_letter=True)
            return found

    def _reopen(self, event_id: str, max_replays: int) -> ReopenResult:
        row = self._store.ledger.get(event_id)
        if row is None:
            return ReopenResult(event_id, ReopenOutcome.MISSING)
        if row.state == ForwardState.DELIVERED:
            return ReopenResult(event_id, ReopenOutcome.DELIVERED, row.replays)
        if row.state == ForwardState.PENDING:
            if self._is_claimed(row):
                return ReopenResult(event_id, ReopenOutcome.IN_FLIGHT, row.replays)
            if row.given_up_reason is None:
                if row.claim_token is not None:
                    row.claim_token, row.claimed_until = str(uuid.uuid4()), self._store.clock.now()
                return ReopenResult(event_id, ReopenOutcome.PENDING, row.replays)
        if row.replays >= max_replays:
            return ReopenResult(event_id, ReopenOutcome.QUARANTINED, row.replays)
        row.state, row.pending_since, row.settled_at = ForwardState.PENDING, self._store.clock.now(), None
        row.claim_token = row.claimed_until = row.not_before = row.again_at = row.republished_at = None
        row.given_up_reason = None
        row.alone_failures = row.republished = 0
        row.replays += 1
        self._store.note(row, HistoryKind.REPLAY)
        return ReopenResult(event_id, ReopenOutcome.REOPENED, row.replays)

    def _is_claimed(self, row: LedgerRow) -> bool:
        return row.claimed_until is not None and row.claimed_until > self._store.clock.now()

    async def events(self, event_ids: Sequence[str]) -> dict[str, Event]:
        async with self.failures.around("events"):
            return {event_id: self._store.event(event_id) for event_id in event_ids if event_id in self._store.log}
