"""Accounting: what was accepted for forwarding, by hour, and what became of it.

Accepted is counted in the event log, by the index on its times; what became of it in the forward ledger, by key. One
commit fills both, and from then on different processes write them. They must add up, and whatever does not is
`unaccounted`. It costs by the events of the time that is asked about, not by the age of the log.
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
from shared.spanner.event_log import LOG_TABLE
from shared.spanner.reading import AT_INTERVALS
from shared.spanner.shards import shards_beyond
from shared.spanner.transactions import current_time

STALENESS: Final = timedelta(seconds=15)
"""Old enough that Spanner answers from any replica without asking the leader, new enough for accounts by the hour."""

CALL_SECONDS: Final = 5.0
"""For what takes Spanner no time: an answer that does not come within this does not come."""

SCAN_SECONDS: Final = 300.0

SLICE_SECONDS: Final = 30.0
"""For one slice of the time that is asked about. One that takes longer is cut smaller."""

LONG_SECONDS: Final = 8.0
SHORT_SECONDS: Final = 1.0
"""After a slice that took longer than the one the next is a quarter, after a shorter one than the other four times as
wide: whoever waits hears of progress every few seconds, however many events an hour has."""

FIRST_SLICE: Final = timedelta(hours=1)
WIDEST_SLICE: Final = timedelta(days=1)
NARROWEST_SLICE: Final = timedelta(seconds=1)

LEDGER_RETENTION: Final = timedelta(days=90)
"""As in deploy/spanner/: settled ledger rows older than this are gone, and their events would look unaccounted."""

_INDEX: Final = "NestEventLogByTime"

# Each join is one by key: a hash join would read all of the ledger. The shards come from an array, so that each is a
# range of its own in the index, which begins and ends with the times.
_EVENTS: Final = f"""
FROM UNNEST(@shards) AS shard
JOIN@{{JOIN_METHOD=APPLY_JOIN}} {LOG_TABLE}@{{FORCE_INDEX={_INDEX}}} AS e
  ON e.log_shard = shard AND e.ingested_at >= @since AND e.ingested_at < @until
LEFT JOIN@{{JOIN_METHOD=APPLY_JOIN}} {LEDGER_TABLE} AS f ON f.event_id = e.event_id
WHERE e.forward_to_statsig"""

_PER_HOUR: Final = f"""
SELECT TIMESTAMP_TRUNC(e.ingested_at, HOUR, 'UTC') AS hour, COUNT(*), COUNTIF(f.state = 'DELIVERED'),
       COUNTIF(f.state = 'PENDING'), COUNTIF(f.state = 'DEAD'), IFNULL(SUM(f.possible_duplicates), 0)
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
    """The events accepted for forwarding within one hour, and where they are now."""

    hour: datetime
    """Its beginning, UTC."""

    accepted: int
    delivered: int
    pending: int
    dead: int

    possible_duplicates: int
    """Attempts whose outcome nobody could know."""

    @property
    def unaccounted(self) -> int:
        """Anything but 0 is an error of ours."""
        return self.accepted - self.delivered - self.pending - self.dead


@dataclass(frozen=True, slots=True)
class Unaccounted:
    """An event of the log that the ledger does not know, or knows in a state that there is not."""

    event_id: str
    ingested_at: datetime
    state: str | None
    """None where it has no ledger row."""


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
        """The accounts of every hour with events from `since` to before `until`, oldest first; both may cut an hour.

        Both are aware, and within LEDGER_RETENTION. `reached` is told how far it is, every few seconds.

        Raises:
            StorageUnavailableError: no answer.
        """
        ...

    async def unaccounted(self, *, since: datetime, until: datetime, limit: int) -> Sequence[Unaccounted]:
        """Some of those that `per_hour` counts as such, in no order; of a time that is not longer than needed.

        Raises:
            StorageUnavailableError: no answer within SCAN_SECONDS.
        """
        ...


class SpannerAccounting:
    """Accounting on NestEventLog and NestEventForward."""

    def __init__(self, database: Any, *, shards: int = DEFAULT_SHARDS, staleness: timedelta = STALENESS) -> None:
        """`shards` as in the settings (FORWARD_SHARDS); shards beyond that have events are looked for."""
        self._database = database
        self._shards = shards
        self._bound = {"exact_staleness": staleness} if staleness else {}

    async def now(self) -> datetime:
        async with spanner_call(CALL_SECONDS), self._database.snapshot() as snapshot:
            return await current_time(snapshot)

    async def per_hour(
        self, *, since: datetime, until: datetime, reached: Callable[[datetime], None] = lambda _: None
    ) -> Sequence[HourlyAccount]:
        shards = await self._all_shards()
        hours: dict[datetime, list[int]] = {}
        width, begin = FIRST_SLICE, since
        while begin < until:
            end = min(until, begin + width)
            began = anyio.current_time()
            try:
                rows = await self._query(_PER_HOUR, SLICE_SECONDS, shards=shards, since=begin, until=end)
            except StorageUnavailableError as error:
                if not isinstance(error.__cause__, TimeoutError) or width <= NARROWEST_SLICE:
                    raise
                await self.now()  # it raises where Spanner is gone; else the slice was too wide
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
            beyond = await shards_beyond(self._database, LOG_TABLE, _INDEX, "log_shard", self._shards)
        return [*range(self._shards), *beyond]

    async def _query(self, query: str, seconds: float, **values: Any) -> list[Sequence[Any]]:
        async with spanner_call(seconds), self._database.snapshot(**self._bound) as snapshot:
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
