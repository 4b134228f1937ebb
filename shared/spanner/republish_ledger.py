"""The reconciler's part of the forward ledger on Spanner."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from google.cloud.spanner_v1 import COMMIT_TIMESTAMP, KeyRange, KeySet

from shared.events.event import Event
from shared.events.forward_ledger import LEDGER_TABLE, ForwardState
from shared.events.republish_ledger import Cursor, Marked, Page
from shared.spanner import forward_ledger_rows as table
from shared.spanner.connection import spanner_call
from shared.spanner.event_log import LOG_TABLE
from shared.spanner.reading import AT_INTERVALS, by_key
from shared.spanner.transactions import Transactions, current_time

_AGAIN_INDEX: Final = "NestEventForwardAgain"

_SAME_MOMENT: Final = 50
"""Rows of one moment and one shard that a page may begin among without a second read: a commit of 800."""

_BEGINNING: Final = Cursor(datetime(1970, 1, 1, tzinfo=UTC), "")
"""Before any row: pending_since is a commit's time."""

_READ_FOR_MARKING: Final = ("event_id", "state", "claimed_until", "not_before", "republished", "republished_at",
                            "again_at")  # fmt: skip
_MARK_COLUMNS: Final = ("event_id", "republished", "republished_at", "again_at")
_AGAIN_COLUMNS: Final = ("event_id", "again_at")


@dataclass(frozen=True, slots=True)
class _Row:
    """As _READ_FOR_MARKING has it."""

    event_id: str
    state: str
    claimed_until: datetime | None
    not_before: datetime | None
    republished: int
    republished_at: datetime | None
    again_at: datetime | None

    def busy_until(self, now: datetime) -> datetime:
        """Now where it is in nobody's hands and no waiting suspect."""
        return max(now, self.claimed_until or now, self.not_before or now)

    def marked(self, now: datetime, intervals: Sequence[float]) -> tuple[object, ...]:
        interval = timedelta(seconds=intervals[min(self.republished, len(intervals) - 1)])
        return (self.event_id, self.republished + 1, COMMIT_TIMESTAMP, now + interval)


class SpannerRepublishLedger:
    """RepublishLedger on NestEventForward and NestEventLog."""

    def __init__(self, transactions: Transactions, *, timeout_seconds: float) -> None:
        """The transactions are those of the SpannerForwardLedger on the same database."""
        self._transactions = transactions
        self._timeout_seconds = timeout_seconds

    async def unpublished(self, *, shard: int, after: Cursor | None, older_than_seconds: float, limit: int) -> Page:
        since = after or _BEGINNING
        begin, until = (shard, since.pending_since), timedelta(seconds=-older_than_seconds)
        # A range cannot begin within a moment: what was seen of it is read once more and left out.
        room = _SAME_MOMENT
        while True:
            found, end = await self._range(
                table.PENDING_INDEX, "pending_since", begin=begin, until=until, limit=limit + room
            )
            places = [place for row in found if (place := Cursor(*row)) > since]
            if len(places) >= limit:
                return Page([place.event_id for place in places[:limit]], places[limit - 1])
            if len(found) < limit + room:
                return Page([place.event_id for place in places], max(since, Cursor(end, "")))
            room = 2 * (len(found) - len(places))

    async def due_again(self, *, shard: int, limit: int) -> list[str]:
        found, _ = await self._range(_AGAIN_INDEX, "again_at", begin=(shard, _BEGINNING.pending_since), limit=limit)
        return [event_id for _, event_id in found]

    async def _range(
        self, index: str, column: str, *, begin: tuple[int, datetime], until: timedelta = timedelta(0), limit: int
    ) -> tuple[list[Sequence[Any]], datetime]:
        """A shard's entries up to that long from now, as (column, event_id), in the order of the index; and that time.

        Read, and not queried: the emulator answers a query from the whole index, at 100,000 rows in half a second.
        """
        # Two single uses: a snapshot of several is a transaction, and on the emulator it ends the one that is running.
        async with spanner_call(self._timeout_seconds):
            async with self._transactions.database.snapshot() as snapshot:
                end = await current_time(snapshot) + until
            if end <= begin[1]:
                return [], end
            keys = KeySet(ranges=[KeyRange(start_closed=list(begin), end_open=[begin[0], end])])
            async with self._transactions.database.snapshot() as snapshot:
                rows = await snapshot.read(
                    LEDGER_TABLE, (column, "event_id"), keys, index=index, limit=limit, retry=AT_INTERVALS
                )
                return [row async for row in rows], end

    async def mark_republished(
        self, event_ids: Sequence[str], *, intervals: Sequence[float], force: bool = False
    ) -> list[Marked]:
        async def work(transaction: Any) -> list[Marked]:
            read = await _rows(transaction, LEDGER_TABLE, _READ_FOR_MARKING, event_ids)
            rows = [each for row in read if (each := _Row(*row)).state == ForwardState.PENDING]
            if not rows:
                return []
            now = await current_time(transaction)
            due = [row for row in rows if force or not table.is_live(row.again_at, now)]
            taken = {row.event_id: row for row in due if row.busy_until(now) == now}
            busy = [row for row in due if row.event_id not in taken and not table.is_live(row.again_at, now)]
            if taken:
                marks = [row.marked(now, intervals) for row in taken.values()]
                transaction.update(LEDGER_TABLE, _MARK_COLUMNS, marks)
            if busy:
                later = [(row.event_id, row.busy_until(now) + timedelta(seconds=intervals[0])) for row in busy]
                transaction.update(LEDGER_TABLE, _AGAIN_COLUMNS, later)
            events = await _events(transaction, list(taken))
            return [
                Marked(event_id, events.get(event_id), row.republished + 1, row.republished_at)
                for event_id in dict.fromkeys(event_ids)
                if (row := taken.get(event_id)) is not None
            ]

        return await self._transactions.run(work, within_seconds=self._timeout_seconds) if event_ids else []

    async def put_back(self, marked: Sequence[Marked]) -> None:
        by_id = {each.event_id: each for each in marked}

        async def work(transaction: Any) -> None:
            columns = ("event_id", "state", "republished")
            rows = await _rows(transaction, LEDGER_TABLE, columns, by_id)
            ours = [
                by_id[event_id]
                for event_id, state, republished in rows
                if state == ForwardState.PENDING and republished == by_id[event_id].republished
            ]
            if ours:
                now = await current_time(transaction)
                rows = [(each.event_id, each.republished - 1, each.before, now) for each in ours]
                transaction.update(LEDGER_TABLE, _MARK_COLUMNS, rows)

        if marked:
            await self._transactions.run(work, within_seconds=self._timeout_seconds)


async def _events(transaction: Any, event_ids: Sequence[str]) -> dict[str, Event]:
    """Of the rows of which one can be made."""
    if not event_ids:
        return {}
    rows = await _rows(transaction, LOG_TABLE, table.EVENT_COLUMNS, event_ids)
    return {row[0]: table.event(row) for row in rows if table.is_event(row)}


async def _rows(transaction: Any, name: str, columns: tuple[str, ...], event_ids: Iterable[str]) -> list[Sequence[Any]]:
    return [row async for row in await transaction.read(name, columns, by_key(event_ids), retry=AT_INTERVALS)]
