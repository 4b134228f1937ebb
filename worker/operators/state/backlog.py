"""What the tables hold now: pending events, dead events, and whether the latest events have their ledger rows.

The cost of each question depends on its answer, not on the size of the tables: it reads a page of each shard of an
index, or rows by key, or counts an index that holds only what is counted.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from google.cloud.spanner_v1 import param_types

from shared.events.forward_ledger import LEDGER_TABLE, ForwardState
from shared.spanner.connection import spanner_call
from shared.spanner.event_log import LOG_TABLE
from shared.spanner.forward_ledger_rows import DEAD_INDEX, PENDING_INDEX
from shared.spanner.reading import AT_INTERVALS, read_by_key
from shared.spanner.shards import BEGINNING, page_of_each, shards_beyond
from shared.spanner.transactions import current_time
from worker.operators.state.asking import ANSWER_SECONDS
from worker.operators.state.pending import Oldest, PendingEvent

OLDEST: Final = 2_000
"""How many of the oldest pending events are read one by one, for their names, callers and last reasons."""

LATELY: Final = timedelta(minutes=2)
"""The age up to which accepted events are sampled, to see whether each has its ledger row."""

SAMPLE_PER_SHARD: Final = 16
"""Events of that sample from each shard: 512 at the most with 32 shards."""

LAST_HOUR: Final = timedelta(hours=1)

SAMPLED_SHARD: Final = 0
"""The shard whose pending events are counted for an estimate of all. Any shard would do."""

# Without the hint the emulator refuses to force a NULL-filtered index. `>= 0` is true of every entry.
_HINT: Final = "@{spanner_emulator.disable_query_null_filtered_index_check=true}"

_PENDING: Final = f"""{_HINT}
SELECT COUNT(*) FROM {LEDGER_TABLE}@{{FORCE_INDEX={PENDING_INDEX}}}
WHERE forward_shard >= 0 AND pending_since >= @begin"""  # noqa: S608 - constants

_DEAD: Final = f"""{_HINT}
SELECT last_reason, COUNT(*), MAX(settled_at),
       COUNTIF(settled_at >= TIMESTAMP_SUB(CURRENT_TIMESTAMP(), INTERVAL {int(LAST_HOUR.total_seconds())} SECOND))
FROM {LEDGER_TABLE}@{{FORCE_INDEX={DEAD_INDEX}}} WHERE dead_shard >= 0
GROUP BY last_reason"""  # noqa: S608 - as above

_LOG_INDEX: Final = "NestEventLogByTime"


@dataclass(frozen=True, slots=True)
class DeadGroup:
    """How many dead events have the same reason."""

    reason: str
    events: int
    last_at: datetime
    """When the latest of them was settled as dead."""

    within_the_hour: int
    """Those of the last hour."""


@dataclass(frozen=True, slots=True)
class Recent:
    """A sample of the events accepted for forwarding within LATELY."""

    looked_at: int
    unaccounted: tuple[str, ...]
    """Ids of those without a ledger row in a known state."""


class Backlog:
    """Asks the tables. All methods raise StorageUnavailableError where there is no answer within ANSWER_SECONDS.

    Each read is strong and has a snapshot of its own: several in one snapshot are a transaction, and the emulator runs
    only one at a time.
    """

    def __init__(self, database: Any, *, shards: int) -> None:
        """`shards` is the setting FORWARD_SHARDS."""
        self._database = database
        self._shards = shards

    async def now(self) -> datetime:
        """Spanner's time."""
        async with spanner_call(ANSWER_SECONDS), self._database.snapshot() as snapshot:
            return await current_time(snapshot)

    async def pending_by_estimate(self, *, begin: datetime = BEGINNING) -> int:
        """About how many events are pending: the count of one shard, times the shards. A hash spreads events evenly.

        For when there are too many to count. `begin` as for `pending`.
        """
        rows = await self._query(f"{_PENDING} AND forward_shard = {SAMPLED_SHARD}", begin=begin)
        return self._shards * sum(int(row[0]) for row in rows)

    async def pending(self, *, older_than: timedelta = timedelta(0), begin: datetime = BEGINNING) -> int:
        """How many events have been pending for at least `older_than`, exactly. Takes longer the more there are.

        `begin` is a time before which no event is pending. A scan from there skips the entries of events settled since,
        which Spanner keeps for an hour.
        """
        micros = older_than // timedelta(microseconds=1)
        condition = f" AND pending_since <= TIMESTAMP_SUB(CURRENT_TIMESTAMP(), INTERVAL {micros} MICROSECOND)"
        rows = await self._query(_PENDING + (condition if micros else ""), begin=begin)
        return sum(row[0] for row in rows)

    async def dead(self) -> tuple[DeadGroup, ...]:
        """All dead events, counted by reason, the most frequent first. Takes longer the more there are."""
        rows = await self._query(_DEAD)
        found = [DeadGroup(reason or "(none)", events, last_at, recent) for reason, events, last_at, recent in rows]
        return tuple(sorted(found, key=lambda each: (-each.events, each.reason)))

    async def pending_shards_beyond(self) -> list[int]:
        """Shards with pending events that FORWARD_SHARDS does not cover, so that no worker looks there."""
        async with spanner_call(ANSWER_SECONDS):
            return await shards_beyond(self._database, LEDGER_TABLE, PENDING_INDEX, "forward_shard", self._shards)

    async def oldest(self, limit: int = OLDEST, *, begin: datetime = BEGINNING) -> Oldest:
        """The events that have been pending the longest, up to `limit`. `begin` as for `pending`.

        Reads twice a shard's share of the limit from each shard: a hash spreads events evenly. Kept are the events that
        are certainly older than any that was not read, so there may be fewer than `limit`.
        """
        page = 2 * math.ceil(limit / self._shards)
        async with spanner_call(ANSWER_SECONDS):
            pages = await page_of_each(
                self._database,
                LEDGER_TABLE,
                PENDING_INDEX,
                ("pending_since", "event_id"),
                shards=range(self._shards),
                begin=begin,
                limit=page,
                seconds=ANSWER_SECONDS,
            )
            full = [rows[-1][0] for rows in pages if len(rows) == page]
            entries = sorted((row[0], row[1]) for rows in pages for row in rows)
            if full:
                entries = [entry for entry in entries if entry[0] <= min(full)] or entries[:1]
            return Oldest(await self._pending_events(entries[:limit]), are_all=not full and len(entries) <= limit)

    async def _pending_events(self, entries: Iterable[tuple[datetime, str]]) -> tuple[PendingEvent, ...]:
        since = {event_id: at for at, event_id in entries}
        if not since:
            return ()
        columns = ("event_id", "state", "last_reason", "last_attempt_at", "not_before", "claimed_until")
        async with self._database.snapshot() as snapshot:
            now = await current_time(snapshot)
        async with self._database.snapshot() as snapshot:
            ledger = {row[0]: row[1:] for row in await read_by_key(snapshot, LEDGER_TABLE, columns, since)}
        async with self._database.snapshot() as snapshot:
            logged = await read_by_key(snapshot, LOG_TABLE, ("event_id", "event_name", "event_type", "caller"), since)
        names = {row[0]: row[1:] for row in logged}
        found: list[PendingEvent] = []
        for event_id, at in since.items():
            state, reason, attempted, not_before, claimed_until = ledger.get(event_id, (None,) * 5)
            if state == ForwardState.PENDING:  # otherwise it was settled since its entry was read
                name, kind, caller = names.get(event_id, ("", None, None))
                is_set_aside, is_in_flight = (each is not None and each > now for each in (not_before, claimed_until))
                kept = (name, kind, caller, reason, attempted, is_set_aside, is_in_flight)
                found.append(PendingEvent(event_id, at, *kept))
        return tuple(found)

    async def recent(self) -> Recent:
        """Up to SAMPLE_PER_SHARD events of each shard, accepted within LATELY, are looked up in the ledger."""
        async with spanner_call(ANSWER_SECONDS):
            async with self._database.snapshot() as snapshot:
                begin = await current_time(snapshot) - LATELY
            pages = await page_of_each(
                self._database,
                LOG_TABLE,
                _LOG_INDEX,
                ("event_id", "forward_to_statsig"),
                shards=range(self._shards),
                begin=begin,
                limit=SAMPLE_PER_SHARD,
                seconds=ANSWER_SECONDS,
            )
            event_ids = [event_id for rows in pages for event_id, is_forwarded in rows if is_forwarded]
            if not event_ids:
                return Recent(0, ())
            async with self._database.snapshot() as snapshot:
                rows = await read_by_key(snapshot, LEDGER_TABLE, ("event_id", "state"), event_ids)
        known = {event_id for event_id, state in rows if state in set(ForwardState)}
        return Recent(len(event_ids), tuple(event_id for event_id in event_ids if event_id not in known))

    async def _query(self, query: str, **values: datetime) -> list[Any]:
        types = dict.fromkeys(values, param_types.TIMESTAMP)
        async with spanner_call(ANSWER_SECONDS), self._database.snapshot() as snapshot:
            rows = await snapshot.execute_sql(query, values or None, types or None, retry=AT_INTERVALS)
            return [row async for row in rows]
