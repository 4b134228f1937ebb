"""The reconciler's part of the forward ledger in memory."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from shared.events.event import Event
from shared.events.forward_ledger import ForwardState
from shared.events.republish_ledger import Cursor, Marked, Page, Reached
from tests.support.fakes.memory_event_log import LedgerRow, MemoryStore
from tests.support.fakes.scripted_failures import ScriptedFailures


class MemoryRepublishLedger:
    """RepublishLedger on a MemoryStore. Each call is one transaction: it awaits nothing between reads and writes."""

    def __init__(self, store: MemoryStore, *, failures: ScriptedFailures | None = None) -> None:
        self._store = store
        self.failures = failures or ScriptedFailures()
        self.scanned = 0
        """Index entries that all calls so far returned."""

    async def unpublished(
        self,
        *,
        shard: int,
        after: Cursor | None,
        older_than_seconds: float,
        limit: int,
        reached: Reached | None = None,
    ) -> Page:
        async with self.failures.around("unpublished"):
            now = self._store.clock.now()
            before = now - timedelta(seconds=older_than_seconds)
            before = before if reached is None else min(before, reached.bound(now))
            index = sorted(
                Cursor(row.pending_since, row.event_id)
                for row in self._store.ledger.values()
                if row.forward_shard == shard and row.pending_since is not None and row.pending_since < before
            )
            found = [place for place in index if after is None or place > after][:limit]
            self.scanned += len(found)
            end = Cursor(before, "") if after is None else max(after, Cursor(before, ""))
            return Page([place.event_id for place in found], found[-1] if len(found) == limit else end)

    async def due_again(self, *, shard: int, limit: int) -> list[str]:
        async with self.failures.around("due_again"):
            found = sorted(
                (row.again_at, row.event_id)
                for row in self._store.ledger.values()
                if row.forward_shard == shard and row.again_at is not None and not self._is_ahead(row.again_at)
            )[:limit]
            self.scanned += len(found)
            return [event_id for _, event_id in found]

    async def mark_republished(
        self,
        event_ids: Sequence[str],
        *,
        intervals: Sequence[float],
        force: bool = False,
        chosen: Callable[[Event], bool] | None = None,
        reached: Reached | None = None,
    ) -> list[Marked]:
        if not event_ids:
            return []  # no call to Spanner
        async with self.failures.around("mark_republished"):
            rows = [row for event_id in dict.fromkeys(event_ids) if (row := self._store.ledger.get(event_id))]
            pending = [row for row in rows if row.state == ForwardState.PENDING]
            marked = [self._mark(row, intervals, force, chosen, reached) for row in pending]
            return [each for each in marked if each is not None]

    def _mark(
        self,
        row: LedgerRow,
        intervals: Sequence[float],
        force: bool,
        chosen: Callable[[Event], bool] | None,
        reached: Reached | None,
    ) -> Marked | None:
        now, is_due = self._store.clock.now(), not self._is_ahead(row.again_at)
        if not is_due and not force:
            return None
        messages = [at for at in (row.pending_since, row.republished_at) if at is not None]
        if reached is not None and max(messages) >= reached.bound(now):
            row.again_at = min(now + timedelta(seconds=intervals[1]), max(messages) + reached.longest)
            return None
        busy = [until for until in (row.claimed_until, row.not_before) if until is not None and self._is_ahead(until)]
        event = self._event(row.event_id)
        if chosen is not None and (event is None or not chosen(event)):
            return None
        if busy:
            due_after = max(busy) + timedelta(seconds=intervals[0])
            if is_due or row.again_at is None or due_after < row.again_at:
                row.again_at = due_after
            return None
        before, row.republished_at = row.republished_at, now
        row.again_at = now + timedelta(seconds=intervals[min(row.republished, len(intervals) - 1)])
        row.republished += 1
        return Marked(row.event_id, event, row.republished, before)

    async def put_back(self, marked: Sequence[Marked]) -> None:
        if not marked:
            return  # no call to Spanner
        async with self.failures.around("put_back"):
            for each in marked:
                row = self._store.ledger.get(each.event_id)
                if row and row.state == ForwardState.PENDING and row.republished == each.republished:
                    row.republished -= 1
                    row.republished_at, row.again_at = each.before, self._store.clock.now()

    def _is_ahead(self, at: datetime | None) -> bool:
        return at is not None and at > self._store.clock.now()

    def _event(self, event_id: str) -> Event | None:
        try:
            return self._store.event(event_id)
        except ValueError:
            return None
