"""The forward ledger in memory."""

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import timedelta

from shared import attempt_history
from shared.attempt_history import HistoryEntry, HistoryKind, extended
from shared.event import RESERVED_METADATA_KEY, Event
from shared.forward_ledger import REPUBLISH_FACTOR, Attempt, Entry, ForwardState, Reopened, Reopening, Standing
from shared.telemetry.tracing import TRACEPARENT
from tests.support.memory_event_log import LedgerRow, MemoryStore
from tests.support.scripted_failures import ScriptedFailures


class MemoryForwardLedger:
    """ForwardLedger on a MemoryStore. Each call is one transaction: nothing comes between its reads and writes."""

    def __init__(self, store: MemoryStore, *, failures: ScriptedFailures | None = None) -> None:
        self._store = store
        self.failures = failures or ScriptedFailures()

    async def claim(self, event_ids: Sequence[str], *, token: str, seconds: float) -> dict[str, Entry]:
        async with self.failures.around("claim"):
            return {event_id: self._claim(event_id, token, seconds) for event_id in event_ids}

    def _claim(self, event_id: str, token: str, seconds: float) -> Entry:
        row = self._store.ledger.get(event_id)
        if row is None:
            return Entry(event_id, Standing.MISSING)
        standing = self._standing(row, token)
        if standing is Standing.CLAIMED:
            if row.claim_token not in (None, token):
                row.possible_duplicates += 1
                self._note(row, HistoryKind.TAKE_OVER)
            row.claim_token = token
            row.claimed_until = self._store.clock.now() + timedelta(seconds=seconds)
        history = attempt_history.decode(row.history)
        return Entry(event_id, standing, row.attempts, row.possible_duplicates, row.replays, history)

    def _standing(self, row: LedgerRow, token: str) -> Standing:
        if row.state != ForwardState.PENDING:
            return Standing(row.state.lower())
        if row.claim_token not in (None, token) and self._is_claimed(row):
            return Standing.HELD
        return Standing.CLAIMED

    def _is_claimed(self, row: LedgerRow) -> bool:
        return row.claimed_until is not None and row.claimed_until > self._store.clock.now()

    async def settle_delivered(
        self, attempts: Sequence[Attempt], *, token: str | None = None, seconds_left: float = 0.0
    ) -> None:
        del seconds_left  # saves a read, of which there is none here
        if not attempts:
            return  # no call to Spanner
        async with self.failures.around("settle_delivered"):
            for attempt in attempts:
                row = self._store.ledger.get(attempt.event_id)
                if row is None:
                    continue
                if token is None or row.claim_token == token:
                    self._settle(row, attempt, ForwardState.DELIVERED)
                elif row.state == ForwardState.PENDING:
                    row.state, row.pending_since = ForwardState.DELIVERED, None
                    row.settled_at = self._store.clock.now()

    async def settle_dead(self, attempts: Sequence[Attempt], *, token: str) -> set[str]:
        if not attempts:
            return set()  # no call to Spanner
        async with self.failures.around("settle_dead"):
            held = [
                (row, attempt)
                for row, attempt in self._ours(attempts, token)
                if row.state == ForwardState.PENDING and self._is_claimed(row)
            ]
            for row, attempt in held:
                self._settle(row, attempt, ForwardState.DEAD)
            return {row.event_id for row, _ in held}

    async def release(self, attempts: Sequence[Attempt], *, token: str) -> None:
        if not attempts:
            return  # no call to Spanner
        async with self.failures.around("release"):
            for row, attempt in self._ours(attempts, token):
                if attempt.last_attempt_at is None:
                    row.claim_token = row.claimed_until = None
                else:
                    _note(row, attempt)

    async def pending(self, *, shard: int, older_than_seconds: float, limit: int) -> list[Event]:
        async with self.failures.around("pending"):
            before = self._store.clock.now() - timedelta(seconds=older_than_seconds)
            long_before = self._store.clock.now() - timedelta(seconds=older_than_seconds * REPUBLISH_FACTOR)
            found = sorted(
                (row.pending_since, row.event_id)
                for row in self._store.ledger.values()
                if row.forward_shard == shard
                and row.pending_since is not None
                and row.pending_since < before
                and (row.republished_at is None or row.republished_at < long_before)
                and not self._is_claimed(row)
            )
            return [self._logged(event_id) for _, event_id in found[:limit]]

    async def oldest_pending_seconds(self) -> float | None:
        async with self.failures.around("oldest_pending_seconds"):
            born = [row.pending_since for row in self._store.ledger.values() if row.pending_since is not None]
            return (self._store.clock.now() - min(born)).total_seconds() if born else None

    async def reopen(self, event_ids: Sequence[str], *, max_replays: int) -> dict[str, Reopened]:
        async with self.failures.around("reopen"):
            return {event_id: self._reopen(event_id, max_replays) for event_id in dict.fromkeys(event_ids)}

    def _reopen(self, event_id: str, max_replays: int) -> Reopened:
        row = self._store.ledger.get(event_id)
        if row is None:
            return Reopened(event_id, Reopening.MISSING)
        if row.state == ForwardState.DELIVERED:
            return Reopened(event_id, Reopening.DELIVERED, row.replays)
        if row.state == ForwardState.PENDING:
            if self._is_claimed(row):
                return Reopened(event_id, Reopening.HELD, row.replays)
            if row.claim_token is not None:
                row.claim_token, row.claimed_until = str(uuid.uuid4()), self._store.clock.now()
            return Reopened(event_id, Reopening.PENDING, row.replays)
        if row.replays >= max_replays:
            return Reopened(event_id, Reopening.QUARANTINED, row.replays)
        row.state, row.pending_since, row.settled_at = ForwardState.PENDING, self._store.clock.now(), None
        row.claim_token = row.claimed_until = None
        row.replays += 1
        self._note(row, HistoryKind.REPLAY)
        return Reopened(event_id, Reopening.REOPENED, row.replays)

    async def dead(self, *, after: str = "", limit: int) -> list[Event]:
        async with self.failures.around("dead"):
            found = sorted(
                row.event_id
                for row in self._store.ledger.values()
                if row.state == ForwardState.DEAD and row.event_id > after
            )
            return [self._logged(event_id) for event_id in found[:limit]]

    async def note_republished(self, event_ids: Sequence[str]) -> None:
        if not event_ids:
            return  # no call to Spanner
        async with self.failures.around("note_republished"):
            for event_id in event_ids:
                if row := self._store.ledger.get(event_id):
                    row.republished_at = self._store.clock.now()

    def _ours(self, attempts: Sequence[Attempt], token: str) -> Iterable[tuple[LedgerRow, Attempt]]:
        for attempt in attempts:
            row = self._store.ledger.get(attempt.event_id)
            if row is not None and row.state != ForwardState.DEAD and row.claim_token == token:
                yield row, attempt

    def _settle(self, row: LedgerRow, attempt: Attempt, state: ForwardState) -> None:
        _note(row, attempt)
        row.state, row.pending_since, row.settled_at = state, None, self._store.clock.now()

    def _note(self, row: LedgerRow, kind: HistoryKind) -> None:
        entry = HistoryEntry(kind, self._store.clock.now())
        row.history = attempt_history.encode(extended(attempt_history.decode(row.history), entry))

    def _logged(self, event_id: str) -> Event:
        row = self._store.log[event_id]
        metadata = self._store.metadata(event_id)
        service = metadata.pop(RESERVED_METADATA_KEY, {})
        return replace(row.event, metadata=metadata, traceparent=service.get(TRACEPARENT))


def _note(row: LedgerRow, attempt: Attempt) -> None:
    row.attempts = attempt.attempts
    row.possible_duplicates = attempt.possible_duplicates
    row.last_attempt_at = attempt.last_attempt_at
    row.last_reason = attempt.reason
    row.last_status = attempt.status
    row.history = attempt_history.encode(attempt.history)
    row.claim_token = row.claimed_until = None
