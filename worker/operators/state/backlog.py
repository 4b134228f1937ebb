"""What the tables say of now: what is pending, what is dead, whether what was just accepted is there.

Every question is bounded by what it answers, whatever the tables hold: a page of each shard of an index, rows by key,
or a count of an index that has nothing but what is counted.
"""

import math
from collections import Counter
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

OLDEST: Final = 2_000
"""How many of the oldest pending events are looked at one by one: their names, callers and last reasons."""

LATELY: Final = timedelta(minutes=2)
"""How far back the events go of which it is looked up whether each has its ledger row."""

RECENT_OF_A_SHARD: Final = 16
"""Of those, from each shard: some hundreds in all. A sample, and told as one."""

LAST_HOUR: Final = timedelta(hours=1)

ESTIMATED_BY: Final = 0
"""The shard that stands for all: any."""

# The emulator refuses to force a NULL-filtered index on a query by itself. `>= 0` is true of every entry.
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
class PendingGroup:
    """A pending event."""

    pending_since: datetime
    event_name: str
    caller: str | None
    reason: str | None
    """How the last attempt ended; None where nobody tried yet."""

    last_attempt_at: datetime | None
    is_aside: bool
    """It failed alone while others were confirmed, and waits for its next try."""

    is_in_work: bool
    """A worker holds it."""


@dataclass(frozen=True, slots=True)
class Oldest:
    """The events that are pending for the longest, up to OLDEST of them."""

    events: tuple[PendingGroup, ...]
    """The oldest first."""

    are_all: bool
    """Whether nothing else was pending."""

    @property
    def since(self) -> datetime | None:
        """Of the oldest."""
        return self.events[0].pending_since if self.events else None

    @property
    def held_up_since(self) -> datetime | None:
        """Of the oldest that is not set aside: one bad event that waits for its next try holds nobody up."""
        return next((each.pending_since for each in self.events if not each.is_aside), None)

    def by_reason(self) -> Counter[str]:
        return Counter("not tried yet" if each.reason is None else each.reason for each in self.events)

    def by_name(self) -> Counter[str]:
        return Counter(each.event_name for each in self.events)

    def by_caller(self) -> Counter[str]:
        return Counter(each.caller or "(nobody established)" for each in self.events)


@dataclass(frozen=True, slots=True)
class Dead:
    """Dead events with the same reason."""

    reason: str
    events: int
    last_at: datetime
    within_the_hour: int


@dataclass(frozen=True, slots=True)
class Recent:
    """What a sample of the events accepted within LATELY showed."""

    looked_at: int
    unaccounted: tuple[str, ...]
    """Those without a ledger row in a state that there is."""


class Backlog:
    """Strong reads, each by itself: a snapshot of several is a transaction, of which the emulator bears one."""

    def __init__(self, database: Any, *, shards: int) -> None:
        """`shards` as in the settings (FORWARD_SHARDS)."""
        self._database = database
        self._shards = shards

    async def now(self) -> datetime:
        """Spanner's time.

        Raises, as everything here does:
            StorageUnavailableError: no answer within ANSWER_SECONDS.
        """
        async with spanner_call(ANSWER_SECONDS), self._database.snapshot() as snapshot:
            return await current_time(snapshot)

    async def pending_by_estimate(self, *, begin: datetime = BEGINNING) -> int:
        """About how many events are pending: as many in each shard as in one of them, since shards are drawn by a hash.

        For where there are too many to be counted.
        """
        rows = await self._query(f"{_PENDING} AND forward_shard = {ESTIMATED_BY}", begin=begin)
        return self._shards * sum(int(row[0]) for row in rows)

    async def pending(self, *, older_than: timedelta = timedelta(0), begin: datetime = BEGINNING) -> int:
        """How many events are pending, exactly, or have been for so long. Takes longer the more there are.

        Nothing is pending from before `begin`: a scan from there does not pass the entries of what was settled within
        the hour for which Spanner keeps them.
        """
        micros = older_than // timedelta(microseconds=1)
        condition = f" AND pending_since <= TIMESTAMP_SUB(CURRENT_TIMESTAMP(), INTERVAL {micros} MICROSECOND)"
        rows = await self._query(_PENDING + (condition if micros else ""), begin=begin)
        return sum(row[0] for row in rows)

    async def dead(self) -> tuple[Dead, ...]:
        """All dead events by their reasons, the most frequent first. Takes longer the more there are."""
        rows = await self._query(_DEAD)
        found = [Dead(reason or "(none)", events, last_at, lately) for reason, events, last_at, lately in rows]
        return tuple(sorted(found, key=lambda each: (-each.events, each.reason)))

    async def beyond(self) -> list[int]:
        """The shards that FORWARD_SHARDS does not count, and that have pending events: no worker looks there."""
        async with spanner_call(ANSWER_SECONDS):
            return await shards_beyond(self._database, LEDGER_TABLE, PENDING_INDEX, "forward_shard", self._shards)

    async def oldest(self, limit: int = OLDEST, *, begin: datetime = BEGINNING) -> Oldest:
        """What is pending for the longest; nothing is from before `begin`.

        Twice a shard's share is read of each, and what is surely older than all that was not read is kept: shards are
        drawn by a hash, and so of about the same size.
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
            return Oldest(await self._waiting(entries[:limit]), are_all=not full and len(entries) <= limit)

    async def _waiting(self, entries: Iterable[tuple[datetime, str]]) -> tuple[PendingGroup, ...]:
        since = {event_id: at for at, event_id in entries}
        if not since:
            return ()
        columns = ("event_id", "state", "last_reason", "last_attempt_at", "not_before", "claimed_until")
        async with self._database.snapshot() as snapshot:
            now = await current_time(snapshot)
        async with self._database.snapshot() as snapshot:
            ledger = {row[0]: row[1:] for row in await read_by_key(snapshot, LEDGER_TABLE, columns, since)}
        async with self._database.snapshot() as snapshot:
            logged = await read_by_key(snapshot, LOG_TABLE, ("event_id", "event_name", "caller"), since)
        names = {row[0]: row[1:] for row in logged}
        found: list[PendingGroup] = []
        for event_id, at in since.items():
            state, reason, attempted, not_before, claimed_until = ledger.get(event_id, (None,) * 5)
            if state == ForwardState.PENDING:  # else it was settled since its entry was read
                name, caller = names.get(event_id, ("", None))
                is_aside, is_in_work = (each is not None and each > now for each in (not_before, claimed_until))
                found.append(PendingGroup(at, name, caller, reason, attempted, is_aside, is_in_work))
        return tuple(found)

    async def recent(self) -> Recent:
        """Whether events that were just accepted are in the ledger: a sample of some hundreds."""
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
                limit=RECENT_OF_A_SHARD,
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
