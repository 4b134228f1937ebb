"""The erasure of an actor's events in memory."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from shared.events.erasure import ERASER, HELD_ON_SECONDS, ActorEvent, Cursor, EventState, Found, Page
from shared.events.forward_ledger import forward_shard
from tests.support.fakes.memory_event_log import LedgerRow, MemoryStore
from tests.support.fakes.scripted_failures import ScriptedFailures

_HELD_ON = timedelta(seconds=HELD_ON_SECONDS)


class MemoryErasure:
    """Erasure on a MemoryStore. One step of a search is one shard."""

    def __init__(self, store: MemoryStore, *, failures: ScriptedFailures | None = None) -> None:
        self._store = store
        self.failures = failures or ScriptedFailures()

    async def search(self, actor_id: str, *, before: datetime, cursor: Cursor | None = None) -> Page:
        async with self.failures.around("search"):
            shard = cursor.shard if cursor is not None else 0
            looked_at = [
                event_id
                for event_id, at in self._store.ingested_at.items()
                if at < before and self._shard(event_id) == shard and event_id in self._store.log
            ]
            found = [e for e in looked_at if self._store.log[e].event.actor_id == actor_id]
            events = [ActorEvent(event_id, self._store.ingested_at[event_id]) for event_id in found]
            is_last = shard + 1 == self._store.shards
            return Page(events, len(looked_at), None if is_last else Cursor(shard + 1, before))

    def _shard(self, event_id: str) -> int:
        return forward_shard(event_id, shards=self._store.shards)

    async def look(self, event_ids: Sequence[str]) -> Found:
        async with self.failures.around("look"):
            return self._found(event_ids)

    async def erase(self, event_ids: Sequence[str]) -> Found:
        async with self.failures.around("erase"):
            found = self._found(event_ids)
            for event_id, state in found.states.items():
                if state is EventState.IN_FLIGHT:
                    self._take(self._store.ledger[event_id])
                    continue
                self._store.erased.add(event_id)
                self._store.delete(event_id)
                self._store.letters = {k: v for k, v in self._store.letters.items() if v.event_id != event_id}
            return found

    def _take(self, row: LedgerRow) -> None:
        if row.claim_token != ERASER and row.claimed_until is not None:
            row.claim_token, row.claimed_until = ERASER, row.claimed_until + _HELD_ON

    def _found(self, event_ids: Sequence[str]) -> Found:
        states = {e: self._state(e) for e in event_ids if e in self._store.log}
        gone = {e for e, state in states.items() if state is not EventState.IN_FLIGHT}
        return Found(states, sum(letter.event_id in gone for letter in self._store.letters.values()))

    def _state(self, event_id: str) -> EventState:
        row = self._store.ledger.get(event_id)
        if row is None:
            is_forwarded = self._store.log[event_id].forward_to_statsig
            return EventState.SETTLED_LONG_AGO if is_forwarded else EventState.NOT_FORWARDED
        held_on = _HELD_ON if row.claim_token == ERASER else timedelta(0)
        if row.claimed_until is not None and row.claimed_until - held_on > self._store.clock.now():
            return EventState.IN_FLIGHT
        return EventState(row.state.lower())
