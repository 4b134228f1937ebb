"""The part of the forward ledger that the reconciler uses, on Spanner."""

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

from google.cloud.spanner_v1 import COMMIT_TIMESTAMP, KeyRange, KeySet

from shared.events.event import Event
from shared.events.forward_ledger import LEDGER_TABLE, ForwardState
from shared.events.republish_ledger import Cursor, Marked, Page, Reached
from shared.spanner import event_rows as table
from shared.spanner.connection import spanner_call
from shared.spanner.event_log import LOG_TABLE
from shared.spanner.forward_ledger_rows import PENDING_INDEX, is_live
from shared.spanner.reading import AT_INTERVALS, by_key
from shared.spanner.transactions import Transactions, current_time

_AGAIN_INDEX: Final = "NestEventForwardAgain"

_SAME_TIME_ROWS: Final = 50
"""Rows of one shard with the same pending_since that a page may begin among without a second read. The largest commit,
of 1,000 rows, has some 31 in each of 32 shards."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

_BEGINNING: Final = Cursor(_EPOCH, "")
"""Earlier than any row: pending_since is the time of a commit."""


class _MarkableRow(NamedTuple):
    """The columns that marking reads."""

    event_id: str
    state: str
    claimed_until: datetime | None
    not_before: datetime | None
    republished: int
    republished_at: datetime | None
    again_at: datetime | None
    pending_since: datetime

    @property
    def latest_message_at(self) -> datetime:
        """A time no later than the publish of its latest message."""
        return max(self.pending_since, self.republished_at or _EPOCH)

    def is_still_to_come(self, now: datetime, reached: Reached) -> bool:
        """Whether its latest message was published after those that are forwarded now."""
        return self.latest_message_at >= reached.bound(now)

    def asked_again_at(self, now: datetime, intervals: Sequence[float], reached: Reached) -> datetime:
        """When a row whose message is still to come is due again."""
        return min(now + timedelta(seconds=intervals[1]), self.latest_message_at + reached.longest)

    def busy_until(self, now: datetime) -> datetime:
        """The end of the claim and of the suspect's wait; `now` if there is neither."""
        return max(now, self.claimed_until or now, self.not_before or now)

    def due_after(self, now: datetime, intervals: Sequence[float]) -> datetime:
        """When a row that is busy is due."""
        return self.busy_until(now) + timedelta(seconds=intervals[0])

    def is_due_sooner(self, now: datetime, intervals: Sequence[float]) -> bool:
        """Whether `due_after` takes the place of the time that the row has: it has none, it has come, or is later."""
        return self.again_at is None or self.again_at <= now or self.due_after(now, intervals) < self.again_at


class _MarkedRow(NamedTuple):
    """The columns that marking writes."""

    event_id: str
    republished: int
    republished_at: datetime | str | None
    again_at: datetime


class _DueRow(NamedTuple):
    """The columns that are written if a row cannot be marked yet."""

    event_id: str
    again_at: datetime


class SpannerRepublishLedger:
    """RepublishLedger on NestEventForward and NestEventLog."""

    def __init__(self, transactions: Transactions, *, timeout_seconds: float) -> None:
        """`transactions` are those of the SpannerForwardLedger on the same database."""
        self._transactions = transactions
        self._timeout_seconds = timeout_seconds

    async def unpublished(
        self,
        *,
        shard: int,
        after: Cursor | None,
        older_than_seconds: float,
        limit: int,
        reached: Reached | None = None,
    ) -> Page:
        since = after or _BEGINNING
        begin, until = (shard, since.pending_since), timedelta(seconds=-older_than_seconds)
        # A key range cannot begin between rows of the same time: those seen before are read again and left out.
        room = _SAME_TIME_ROWS
        while True:
            found, end = await self._range(
                PENDING_INDEX, "pending_since", begin=begin, until=until, reached=reached, limit=limit + room
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
        self,
        index: str,
        column: str,
        *,
        begin: tuple[int, datetime],
        until: timedelta = timedelta(0),
        reached: Reached | None = None,
        limit: int,
    ) -> tuple[list[Sequence[Any]], datetime]:
        """A shard's entries from `begin` to now plus `until`, as (column, event_id) in index order; and that end.

        The end is the bound of `reached`, if that is earlier.

        A read, not a query: the emulator goes through the whole index for a query (100,000 rows: half a second).
        """
        # Single-use snapshots: one for several reads is a transaction, and on the emulator it ends the running one.
        async with spanner_call(self._timeout_seconds):
            async with self._transactions.database.snapshot() as snapshot:
                now = await current_time(snapshot)
            end = now + until if reached is None else min(now + until, reached.bound(now))
            if end <= begin[1]:
                return [], end
            keys = KeySet(ranges=[KeyRange(start_closed=list(begin), end_open=[begin[0], end])])
            async with self._transactions.database.snapshot() as snapshot:
                rows = await snapshot.read(
                    LEDGER_TABLE, (column, "event_id"), keys, index=index, limit=limit, retry=AT_INTERVALS
                )
                return [row async for row in rows], end

    async def mark_republished(
        self,
        event_ids: Sequence[str],
        *,
        intervals: Sequence[float],
        force: bool = False,
        chosen: Callable[[Event], bool] | None = None,
        reached: Reached | None = None,
    ) -> list[Marked]:
        async def work(transaction: Any) -> list[Marked]:
            read = await _rows(transaction, LEDGER_TABLE, _MarkableRow._fields, event_ids)
            rows = [each for values in read if (each := _MarkableRow(*values)).state == ForwardState.PENDING]
            if not rows:
                return []
            now = await current_time(transaction)
            due = [row for row in rows if force or not is_live(row.again_at, now)]
            to_come: list[_DueRow] = []
            if reached is not None:
                left = [row for row in due if row.is_still_to_come(now, reached)]
                to_come = [_DueRow(row.event_id, row.asked_again_at(now, intervals, reached)) for row in left]
                due = [row for row in due if not row.is_still_to_come(now, reached)]
            taken = {row.event_id: row for row in due if row.busy_until(now) == now}
            events = await _events(transaction, [row.event_id for row in (due if chosen else taken.values())])
            if chosen is not None:
                due = [row for row in due if (event := events.get(row.event_id)) is not None and chosen(event)]
                taken = {row.event_id: row for row in due if row.event_id in taken}
            busy = [row for row in due if row.event_id not in taken and row.is_due_sooner(now, intervals)]
            if taken:
                marks = [_marked(row, now, intervals) for row in taken.values()]
                transaction.update(LEDGER_TABLE, _MarkedRow._fields, marks)
            later = [_DueRow(row.event_id, row.due_after(now, intervals)) for row in busy]
            if later or to_come:
                transaction.update(LEDGER_TABLE, _DueRow._fields, later + to_come)
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
            ours = [
                by_id[event_id]
                for event_id, state, republished in await _rows(transaction, LEDGER_TABLE, columns, by_id)
                if state == ForwardState.PENDING and republished == by_id[event_id].republished
            ]
            if ours:
                now = await current_time(transaction)
                rows = [_MarkedRow(each.event_id, each.republished - 1, each.before, now) for each in ours]
                transaction.update(LEDGER_TABLE, _MarkedRow._fields, rows)

        if marked:
            await self._transactions.run(work, within_seconds=self._timeout_seconds)


def _marked(row: _MarkableRow, now: datetime, intervals: Sequence[float]) -> _MarkedRow:
    interval = timedelta(seconds=intervals[min(row.republished, len(intervals) - 1)])
    return _MarkedRow(row.event_id, row.republished + 1, COMMIT_TIMESTAMP, now + interval)


async def _events(transaction: Any, event_ids: Sequence[str]) -> dict[str, Event]:
    """Those of the events whose row makes one."""
    if not event_ids:
        return {}
    rows = [table.EventRow(*row) for row in await _rows(transaction, LOG_TABLE, table.EVENT_COLUMNS, event_ids)]
    return {row.event_id: row.event() for row in rows if row.is_event()}


async def _rows(transaction: Any, name: str, columns: tuple[str, ...], event_ids: Iterable[str]) -> list[Sequence[Any]]:
    return [row async for row in await transaction.read(name, columns, by_key(event_ids), retry=AT_INTERVALS)]
