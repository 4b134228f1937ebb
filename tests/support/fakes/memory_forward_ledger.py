"""The forward ledger in memory."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import timedelta

from shared.events import attempt_history
from shared.events.attempt_history import HistoryKind
from shared.events.forward_ledger import ClaimOutcome, ClaimResult, DeliveryRecord, ForwardState
from tests.support.fakes.memory_event_log import LedgerRow, MemoryStore
from tests.support.fakes.scripted_failures import ScriptedFailures


class MemoryForwardLedger:
    """ForwardLedger on a MemoryStore. Each call is one transaction: it awaits nothing between its reads and writes."""

    def __init__(self, store: MemoryStore, *, failures: ScriptedFailures | None = None) -> None:
        self._store = store
        self.failures = failures or ScriptedFailures()

    async def claim(
        self,
        event_ids: Sequence[str],
        *,
        token: str,
        seconds: float,
        own: Mapping[str, Collection[str]] | None = None,
    ) -> dict[str, ClaimResult]:
        if not event_ids:
            return {}  # no call to Spanner
        async with self.failures.around("claim"):
            ours = own or {}
            return {
                event_id: self._claim(event_id, set(ours.get(event_id, ())), token, seconds) for event_id in event_ids
            }

    def _claim(self, event_id: str, own: set[str], token: str, seconds: float) -> ClaimResult:
        row = self._store.ledger.get(event_id)
        if row is None:
            is_erased = event_id in self._store.erased
            return ClaimResult(event_id, ClaimOutcome.ERASED if is_erased else ClaimOutcome.MISSING)
        outcome = self._outcome(row, own, token)
        is_resumed = outcome is ClaimOutcome.CLAIMED and row.claim_token in own
        if outcome is ClaimOutcome.CLAIMED:
            if row.claim_token not in (None, token, *own) and row.given_up_reason is None:
                row.possible_duplicates += 1
                self._store.note(row, HistoryKind.TAKE_OVER)
            row.claim_token = token
            row.claimed_until = self._store.clock.now() + timedelta(seconds=seconds)
        return ClaimResult(
            event_id,
            outcome,
            row.attempts,
            row.possible_duplicates,
            attempt_history.decode(row.history),
            row.alone_failures,
            is_suspect=outcome is ClaimOutcome.CLAIMED and row.not_before is not None,
            is_resumed=is_resumed,
            given_up_reason=row.given_up_reason if outcome is ClaimOutcome.CLAIMED else None,
            pending_since=row.pending_since,
        )

    def _outcome(self, row: LedgerRow, own: set[str], token: str) -> ClaimOutcome:
        if row.state != ForwardState.PENDING:
            return ClaimOutcome(row.state.lower())
        if row.claim_token not in (None, token, *own) and self._is_claimed(row):
            return ClaimOutcome.CLAIMED_ELSEWHERE
        if row.claim_token != token and row.not_before is not None and row.not_before > self._store.clock.now():
            return ClaimOutcome.WAITING
        return ClaimOutcome.CLAIMED

    def _is_claimed(self, row: LedgerRow) -> bool:
        return row.claimed_until is not None and row.claimed_until > self._store.clock.now()

    async def note(self, attempts: Sequence[DeliveryRecord], *, token: str) -> set[str]:
        if not attempts:
            return set()  # no call to Spanner
        async with self.failures.around("note"):
            ours = list(self._ours(attempts, token))
            for row, attempt in ours:
                _note(row, attempt)
            return {row.event_id for row, _ in ours if row.state == ForwardState.PENDING and self._is_claimed(row)}

    async def give_up(self, attempts: Sequence[DeliveryRecord], *, token: str) -> set[str]:
        if not attempts:
            return set()  # no call to Spanner
        async with self.failures.around("give_up"):
            held = self._held(attempts, token)
            for row, attempt in held:
                _note(row, attempt)
                row.alone_failures, row.not_before = attempt.alone_failures, None
                row.given_up_reason = attempt.reason
            return {row.event_id for row, _ in held}

    async def settle_delivered(
        self,
        attempts: Sequence[DeliveryRecord],
        *,
        token: str | None = None,
        seconds_left: float = 0.0,
        within_seconds: float | None = None,
    ) -> None:
        del seconds_left, within_seconds  # they save a read and bound the time: neither applies here
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
                    self._end(row, ForwardState.DELIVERED)

    async def settle_dead(self, attempts: Sequence[DeliveryRecord], *, token: str) -> set[str]:
        if not attempts:
            return set()  # no call to Spanner
        async with self.failures.around("settle_dead"):
            held = self._held(attempts, token)
            for row, attempt in held:
                self._settle(row, attempt, ForwardState.DEAD)
            return {row.event_id for row, _ in held}

    async def release(
        self, attempts: Sequence[DeliveryRecord], *, token: str, within_seconds: float | None = None
    ) -> None:
        del within_seconds
        if not attempts:
            return  # no call to Spanner
        async with self.failures.around("release"):
            for row, attempt in self._ours(attempts, token):
                row.claim_token = row.claimed_until = None
                if attempt.last_attempt_at is not None:
                    _note(row, attempt)
                if attempt.last_attempt_at is not None or attempt.wait_seconds is not None:
                    row.alone_failures, row.not_before = attempt.alone_failures, None
                if attempt.wait_seconds is not None and row.state == ForwardState.PENDING:
                    row.not_before = self._store.clock.now() + timedelta(seconds=attempt.wait_seconds)

    async def oldest_pending_seconds(self) -> float | None:
        async with self.failures.around("oldest_pending_seconds"):
            born = [row.pending_since for row in self._store.ledger.values() if row.pending_since is not None]
            return (self._store.clock.now() - min(born)).total_seconds() if born else None

    def _ours(self, attempts: Sequence[DeliveryRecord], token: str) -> Iterable[tuple[LedgerRow, DeliveryRecord]]:
        for attempt in attempts:
            row = self._store.ledger.get(attempt.event_id)
            if row is not None and row.state != ForwardState.DEAD and row.claim_token == token:
                yield row, attempt

    def _held(self, attempts: Sequence[DeliveryRecord], token: str) -> list[tuple[LedgerRow, DeliveryRecord]]:
        return [
            (row, attempt)
            for row, attempt in self._ours(attempts, token)
            if row.state == ForwardState.PENDING and self._is_claimed(row)
        ]

    def _settle(self, row: LedgerRow, attempt: DeliveryRecord, state: ForwardState) -> None:
        _note(row, attempt)
        row.alone_failures = attempt.alone_failures
        row.claim_token = row.claimed_until = None
        self._end(row, state)

    def _end(self, row: LedgerRow, state: ForwardState) -> None:
        row.state, row.pending_since, row.settled_at = state, None, self._store.clock.now()
        row.not_before = row.again_at = row.given_up_reason = None


def _note(row: LedgerRow, attempt: DeliveryRecord) -> None:
    row.attempts = attempt.attempts
    row.possible_duplicates = attempt.possible_duplicates
    row.last_attempt_at = attempt.last_attempt_at
    row.last_reason = attempt.reason
    row.last_status = attempt.status
    row.history = attempt_history.encode(attempt.history)
