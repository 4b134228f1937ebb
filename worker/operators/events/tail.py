"""Reads what happens to events now, round by round, from the indexes by time.

A round first asks for Spanner's time, and then reads the database as it was at that moment: such a read has every
commit up to it. So the next round can begin right there, and no event is missed or shown twice.

The cost depends on the events since the last round. At most `shown` of them are read with all columns; the rest is
counted by the index. Delivered events have no index by time, since it would be one more write an event: a bounded set
of accepted events is watched by key instead.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from shared.events.forward_ledger import LEDGER_TABLE, ForwardState
from shared.spanner.connection import spanner_call
from shared.spanner.event_log import LOG_INDEX, LOG_TABLE
from shared.spanner.parts import in_parts
from shared.spanner.reading import AT_INTERVALS, read_by_key
from shared.spanner.shards import BEGINNING, shards_beyond
from shared.spanner.transactions import current_time
from worker.operators.events.tail_events import (
    WATCHED,
    Batch,
    LedgerEntry,
    TailChoice,
    TailedEvent,
    Watched,
    Window,
    latest,
    next_window,
    state_of,
)
from worker.operators.events.tail_queries import count_query, rows_query, values_of
from worker.operators.state.asking import ANSWER_SECONDS

SHOWN: Final = 200
"""Events of one round, at most: more scroll past faster than anybody reads."""

LOOK_BACK: Final = timedelta(minutes=1)
"""Where deliveries are asked for, events accepted so long before the first round are watched too."""

ROWS_PER_READ: Final = 1000
"""Ledger rows in one read by key."""


class Tail:
    """Finds what is new, a batch a call. Nothing runs between calls; an interval of a second or two is usual."""

    def __init__(
        self, database: Any, choice: TailChoice, *, shards: int, shown: int = SHOWN, watched: int = WATCHED
    ) -> None:
        """`shards` as in the settings (FORWARD_SHARDS); `shown` bounds a batch, `watched` the awaited deliveries."""
        self._database = database
        self._choice = choice
        self._shards = list(range(shards))
        self._shown = shown
        self._awaited = watched
        self._watched = Watched(watched)
        self._began: datetime | None = None
        self._cursor = BEGINNING

    async def next(self) -> Batch:
        """The events since the last call. The first call finds none: it determines where the next one begins.

        Raises:
            StorageUnavailableError: no answer. Call again: that batch then has the events of the longer time.
        """
        if self._began is None:
            return await self._begin()
        window = next_window(self._cursor, await self._now())
        is_awaiting = self._choice.state is ForwardState.DELIVERED
        batch = await (self._delivered(window, after=self._began) if is_awaiting else self._entered(window))
        self._cursor = window.end
        return batch

    async def _begin(self) -> Batch:
        async with spanner_call(ANSWER_SECONDS):
            beyond = await shards_beyond(self._database, LOG_TABLE, LOG_INDEX, "log_shard", len(self._shards))
        now = await self._now()
        self._shards += beyond
        self._began = now
        self._cursor = now - LOOK_BACK if self._choice.state is ForwardState.DELIVERED else now
        return Batch(events=(), until=now)

    async def _entered(self, window: Window) -> Batch:
        found, left_out = await self._latest(window, limit=self._shown)
        events, _ = latest(found, self._shown)
        return Batch(events=events, until=window.end, left_out=left_out, skipped=window.skipped)

    async def _delivered(self, window: Window, *, after: datetime) -> Batch:
        """Changes the set of watched events once everything is read, so that a failed round can be repeated."""
        accepted, beyond = await self._latest(window, limit=self._awaited)
        ledger = await self._ledger(self._watched.ids_with(accepted), window.end)
        delivered, given_up = self._watched.settle(accepted, ledger, after=after)
        events, left_out = latest(delivered, self._shown)
        return Batch(
            events=events,
            until=window.end,
            left_out=left_out,
            skipped=window.skipped,
            unwatched=beyond + given_up,
        )

    async def _latest(self, window: Window, *, limit: int) -> tuple[list[TailedEvent], int]:
        """The latest events of the window, and how many it has besides."""
        span = {"shards": self._shards, "begin": window.begin, "end": window.end}
        rows = await self._query(rows_query(self._choice), window.end, span | {"limit": limit})
        events = [
            TailedEvent(at, event_name, caller, state_of(state, is_to_be_forwarded=forward), reason, event_id)
            for at, event_id, event_name, caller, forward, state, reason in rows
        ]
        if len(rows) < limit:
            return events, 0
        ((total,),) = await self._query(count_query(self._choice), window.end, span)
        return events, total - len(events)

    async def _query(self, query: str, moment: datetime, values: dict[str, Any]) -> list[Sequence[Any]]:
        parameters, types = values_of(self._choice, **values)
        async with spanner_call(ANSWER_SECONDS), self._database.snapshot(read_timestamp=moment) as snapshot:
            rows = await snapshot.execute_sql(query, parameters, types, retry=AT_INTERVALS)
            return [row async for row in rows]

    async def _ledger(self, event_ids: Sequence[str], moment: datetime) -> dict[str, LedgerEntry]:
        columns = ("event_id", "state", "settled_at", "last_reason")

        async def read(part: Sequence[str]) -> list[Sequence[Any]]:
            async with spanner_call(ANSWER_SECONDS), self._database.snapshot(read_timestamp=moment) as snapshot:
                return await read_by_key(snapshot, LEDGER_TABLE, columns, part)

        parts = await in_parts(event_ids, read, rows=ROWS_PER_READ) if event_ids else []
        return {event_id: LedgerEntry(*entry) for part in parts for event_id, *entry in part}

    async def _now(self) -> datetime:
        """Spanner's time in whole microseconds, as commits have it: the end of a window is a read's timestamp too."""
        async with spanner_call(ANSWER_SECONDS), self._database.snapshot() as snapshot:
            now = await current_time(snapshot)
        return datetime.combine(now.date(), now.time(), UTC)
