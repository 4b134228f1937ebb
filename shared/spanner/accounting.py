"""Accounting: the events that were to be forwarded, by hour, and their states. The port, and its adapter on Spanner.

Events are counted in the event log by its index on time, and their states are read in the forward ledger by key. One
commit writes both rows, and several processes change the ledger after that. Events without a known state are
`unaccounted`. The cost depends on the number of events in the time that is asked about, not on the age of the log.

An event that was stored only at first belongs to the account if `nest-events forward` has given it a ledger row since.
Its log row still says that it was not to be forwarded, so a lost ledger row of such an event is not seen here.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Protocol

import anyio
from google.cloud.spanner_v1 import RequestOptions, param_types

from shared.errors import StorageUnavailableError
from shared.events.forward_ledger import DEFAULT_SHARDS, LEDGER_TABLE
from shared.spanner.connection import spanner_call
from shared.spanner.event_log import EVENTS_BY_TIME, LOG_INDEX, LOG_TABLE
from shared.spanner.reading import AT_INTERVALS
from shared.spanner.shards import page_of_each, shards_beyond
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

EVENTS_OF_A_SHARD: Final = 1000
"""The first slice is as wide as so many events of one shard, 32,000 of all by default: a second or two."""

SAMPLED_SHARD: Final = 0
"""That shard. Any would do: a hash spreads events evenly."""

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


@dataclass(frozen=True, slots=True)
class HourlyAccount:
    """The numbers of events accepted within one hour that were to be forwarded, and of those in each state."""

    hour: datetime
    """The beginning of the hour, UTC."""

    accepted: int
    """Those that were to be forwarded when they were accepted, and those that an operator had forwarded later."""

    delivered: int
    pending: int
    dead: int

    forwarded_later: int
    """Of `accepted`, those that were stored only at first."""

    possible_duplicates: int
    """Attempts with an unknown outcome."""

    @property
    def unaccounted(self) -> int:
        """Events in none of these states. Anything but 0 is a bug."""
        return self.accepted - self.delivered - self.pending - self.dead


@dataclass(frozen=True, slots=True)
class Unaccounted:
    """An event of the log that has no ledger row, or one with an unknown state."""

    event_id: str
    ingested_at: datetime

    state: str | None
    """None if there is no ledger row."""


class Accounting(Protocol):
    async def now(self) -> datetime:
        """Spanner's time.

        Raises:
            StorageUnavailableError: no answer within CALL_SECONDS.
        """
        ...

    async def per_hour(
        self, *, since: datetime, until: datetime, reached: Callable[[datetime], None] = lambda _: None
    ) -> Sequence[HourlyAccount]:
        """The account of every hour with events from `since` to before `until`, oldest first.

        Both times are aware, no older than LEDGER_RETENTION, and need not be full hours. `reached` is called with the
        time up to which the events are counted, every few seconds.

        Raises:
            StorageUnavailableError: no answer.
        """
        ...

    async def unaccounted(self, *, since: datetime, until: datetime, limit: int) -> Sequence[Unaccounted]:
        """Up to `limit` of the events that `per_hour` counts as unaccounted, in no order. Keep the time short.

        Raises:
            StorageUnavailableError: no answer within SCAN_SECONDS.
        """
        ...


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
        shards = await self._all_shards()
        hours: dict[datetime, list[int]] = {}
        width, begin = await self._first_width(since, until), since
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

    async def _first_width(self, since: datetime, until: datetime) -> timedelta:
        (times,) = await page_of_each(
            self._database,
            LOG_TABLE,
            LOG_INDEX,
            ("ingested_at",),
            shards=[SAMPLED_SHARD],
            begin=since,
            limit=EVENTS_OF_A_SHARD,
            seconds=CALL_SECONDS,
        )
        are_all = len(times) < EVENTS_OF_A_SHARD
        return max(NARROWEST_SLICE, until - since if are_all else times[-1][0] - since)

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
