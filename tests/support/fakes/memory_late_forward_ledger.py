"""The part of the forward ledger that takes in events which were stored only, in memory."""

from collections.abc import Sequence

from shared.events.attempt_history import HistoryKind
from shared.events.forward_ledger import LEDGER_RETENTION, ForwardState, forward_shard
from shared.events.late_forward_ledger import Admission, Admitted, StoredChoice, StoredEvent
from shared.events.rules import Match
from tests.support.fakes.memory_event_log import LedgerRow, MemoryStore
from tests.support.fakes.scripted_failures import ScriptedFailures


class MemoryLateForwardLedger:
    """LateForwardLedger on a MemoryStore. Each call is one transaction: it awaits nothing between reads and writes."""

    def __init__(self, store: MemoryStore, *, failures: ScriptedFailures | None = None) -> None:
        self._store = store
        self.failures = failures or ScriptedFailures()

    async def shards(self) -> Sequence[int]:
        async with self.failures.around("shards"):
            return range(self._store.shards)

    async def stored(
        self, choice: StoredChoice, *, shard: int, after: StoredEvent | None, limit: int
    ) -> Sequence[StoredEvent]:
        async with self.failures.around("stored"):
            match = Match(
                event_name=choice.event_name,
                name_prefix=choice.name_prefix,
                event_type=choice.event_type,
                caller=choice.caller,
            )
            found = [
                self._stored(event_id)
                for event_id, row in self._store.log.items()
                if forward_shard(event_id, shards=self._store.shards) == shard
                and not row.forward_to_statsig
                and choice.since <= self._store.ingested_at[event_id] < choice.until
                and match.takes(row.event)
            ]
            found.sort(key=_place)
            return [each for each in found if after is None or _place(each) > _place(after)][:limit]

    def _stored(self, event_id: str) -> StoredEvent:
        row = self._store.ledger.get(event_id)
        name = self._store.log[event_id].event.event_name
        state = None if row is None else ForwardState(row.state)
        return StoredEvent(self._store.ingested_at[event_id], event_id, name, state)

    async def admit(self, event_ids: Sequence[str]) -> dict[str, Admitted]:
        if not event_ids:
            return {}  # no call to Spanner
        async with self.failures.around("admit"):
            return {event_id: self._admit(event_id) for event_id in dict.fromkeys(event_ids)}

    def _admit(self, event_id: str) -> Admitted:
        if event_id not in self._store.log:
            return Admitted(Admission.MISSING)
        row = self._store.ledger.get(event_id)
        if row is not None and row.state != ForwardState.PENDING:
            return Admitted(Admission.SETTLED)
        now = self._store.clock.now()
        if row is None and now - self._store.ingested_at[event_id] >= LEDGER_RETENTION:
            return Admitted(Admission.TOO_OLD)
        try:
            event = self._store.event(event_id)
        except ValueError:
            return Admitted(Admission.UNREADABLE)
        if row is not None:
            return Admitted(Admission.PENDING, event)
        shard = forward_shard(event_id, shards=self._store.shards)
        born = LedgerRow(event_id=event_id, state=ForwardState.PENDING, pending_since=now, forward_shard=shard)
        self._store.ledger[event_id] = born
        self._store.note(born, HistoryKind.FORWARD)
        return Admitted(Admission.ADMITTED, event)


def _place(event: StoredEvent) -> tuple[object, str]:
    return (event.ingested_at, event.event_id)
