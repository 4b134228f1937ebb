"""Accounting on Spanner.

Events are counted in the event log by its index on time, and their states are read in the forward ledger by key. The
cost depends on the number of events in the time that is asked about, not on the age of the log. Few events are read and
counted here, many are counted by queries: these also cost little where they find little on Spanner, but the emulator
answers each by going through all rows of both tables.
"""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import anyio
from google.cloud.spanner_v1 import RequestOptions, param_types

from shared.errors import StorageUnavailableError
from shared.events.accounting import HourlyAccount, Unaccounted
from shared.events.forward_ledger import DEFAULT_SHARDS, LEDGER_TABLE
from shared.spanner.connection import spanner_call
from shared.spanner.event_log import EVENTS_BY_TIME, LOG_INDEX, LOG_TABLE
from shared.spanner.few_events import MANY_OF_A_SHARD, accounts_of, first_events
from shared.spanner.reading import AT_INTERVALS
from shared.spanner.shards import shards_beyond
from shared.spanner.transactions import current_time

CALL_SECONDS: Final = 5.0
"""The bound on a call that takes Spanner no noticeable time."""

SCAN_SECONDS: Final = 300.0
"""The bound on a query that goes through all events of a time."""

# The time that is asked about is divided into slices, so that progress can be reported every few seconds, however many
# events an hour has.

SLICE_SECONDS: Final = 30.0
"""The bound on the query of one slice. A slice that exceeds it is tried again at a quarter of its width."""

LONG_SECONDS: Final = 8.0
"""After a slice that took longer the next one is a quarter as wide."""

SHORT_SECONDS: Final = 1.0
"""After a slice that took less the next one is four times as wide."""

FIRST_SLICE: Final = 10
"""The first slice is so many times as wide as the time of a shard's first MANY_OF_A_SHARD events. With 32 shards it has
some 32,000 events, which take a second or two."""

WIDEST_SLICE: Final = timedelta(days=1)
NARROWEST_SLICE: Final = timedelta(seconds=1)

# APPLY_JOIN joins by key: a hash join would read the whole ledger.
_EVENTS: Final = f"""
FROM {EVENTS_BY_TIME} AND e.ingested_at >= @since AND e.ingested_at < @until
LEFT JOIN@{{JOIN_METHOD=APPLY_JOIN}} {LEDGER_TABLE} AS f ON f.event_id = e.event_id
WHERE (e.forward_to_statsig OR f.event_id IS NOT NULL)"""

_PER_HOUR: Final = f"""
SELECT TIMESTAMP_TRUNC(e.ingested_at, HOUR, 'UTC') AS hour, COUNT(*), COUNTIF(f.state = 'DELIVERED'),
       COUNTIF(f.state = 'PENDING'), COUNTIF(f.state = 'DEAD'), COUNTIF(NOT e.forward_to_statsig),
       IFNULL(SUM(f.possible_duplicates), 0)
{_EVENTS}
GROUP BY hour ORDER BY hour"""

_UNACCOUNTED: Final = f"""
SELECT e.event_id, e.ingested_at, f.state
{_EVENTS} AND (f.state IS NULL OR f.state NOT IN ('PENDING', 'DELIVERED', 'DEAD'))
LIMIT @limit"""

_TYPES: Final = {
    "shards": param_types.Array(param_types.INT64),
    "since": param_types.TIMESTAMP,
    "until": param_types.TIMESTAMP,
    "limit": param_types.INT64,
}


class SpannerAccounting:
    """Accounting on NestEventLog and NestEventForward."""

    def __init__(self, database: Any, *, shards: int = DEFAULT_SHARDS) -> None:
        """`shards` as in the settings (FORWARD_SHARDS); events in higher shards are found too."""
        self._database = database
        self._shards = shards

    async def now(self) -> datetime:
        async with spanner_call(CALL_SECONDS), self._database.snapshot() as snapshot:
            return await current_time(snapshot)

    async def per_hour(
        self, *, since: datetime, until: datetime, reached: Callable[[datetime], None] = lambda _: None
    ) -> Sequence[HourlyAccount]:
        shards, at = await self._all_shards(), await self.now()
        pages = await first_events(self._database, shards=shards, since=since, at=at, seconds=CALL_SECONDS)
        read_until = [page[-1].ingested_at for page in pages if len(page) == MANY_OF_A_SHARD]
        if read_until and min(read_until) < until:
            width = max(NARROWEST_SLICE, FIRST_SLICE * (min(read_until) - since))
            return await self._in_slices(shards, since, until, width, reached)
        events = [event for page in pages for event in page if event.ingested_at < until]
        accounts = await accounts_of(self._database, events, at=at, seconds=CALL_SECONDS)
        reached(until)
        return accounts

    async def _in_slices(
        self,
        shards: Sequence[int],
        since: datetime,
        until: datetime,
        width: timedelta,
        reached: Callable[[datetime], None],
    ) -> list[HourlyAccount]:
        hours: dict[datetime, list[int]] = {}
        begin = since
        while begin < until:
            end = min(until, begin + width)
            began = anyio.current_time()
            try:
                rows = await self._query(_PER_HOUR, SLICE_SECONDS, shards=shards, since=begin, until=end)
            except StorageUnavailableError as error:
                if not isinstance(error.__cause__, TimeoutError) or width <= NARROWEST_SLICE:
                    raise
                await self.now()  # raises if Spanner is down; otherwise the slice was too wide
                width = max(NARROWEST_SLICE, width / 4)
                continue
            for hour, *counts in rows:
                before = hours.get(hour, [0] * len(counts))
                hours[hour] = [one + other for one, other in zip(before, counts, strict=True)]
            width = _next_width(width, anyio.current_time() - began)
            begin = end
            reached(begin)
        return [HourlyAccount(hour, *counts) for hour, counts in sorted(hours.items())]

    async def unaccounted(self, *, since: datetime, until: datetime, limit: int) -> Sequence[Unaccounted]:
        shards = await self._all_shards()
        rows = await self._query(_UNACCOUNTED, SCAN_SECONDS, shards=shards, since=since, until=until, limit=limit)
        return [Unaccounted(*row) for row in rows]

    async def _all_shards(self) -> list[int]:
        async with spanner_call(CALL_SECONDS):
            beyond = await shards_beyond(self._database, LOG_TABLE, LOG_INDEX, "log_shard", self._shards)
        return [*range(self._shards), *beyond]

    async def _query(self, query: str, seconds: float, **values: Any) -> list[Sequence[Any]]:
        async with spanner_call(seconds), self._database.snapshot() as snapshot:
            rows = await snapshot.execute_sql(
                query,
                values,
                {name: _TYPES[name] for name in values},
                request_options=RequestOptions(priority=RequestOptions.Priority.PRIORITY_LOW),
                retry=AT_INTERVALS,
            )
            return [row async for row in rows]


def _next_width(width: timedelta, seconds: float) -> timedelta:
    if seconds > LONG_SECONDS:
        return max(NARROWEST_SLICE, width / 4)
    return min(WIDEST_SLICE, width * 4) if seconds < SHORT_SECONDS else width
