"""Counts the events of a time that has few: reads them by the index on time, and their states by key.

All reads are of one moment: an event that is erased between two reads would seem to lack its ledger row.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from shared.events.accounting import HourlyAccount
from shared.events.forward_ledger import LEDGER_TABLE, ForwardState
from shared.spanner.connection import spanner_call
from shared.spanner.event_log import LOG_INDEX, LOG_TABLE
from shared.spanner.parts import in_parts
from shared.spanner.reading import read_by_key
from shared.spanner.shards import page_of_each

MANY_OF_A_SHARD: Final = 100
"""As many events of one shard are no longer few. Of 32 shards 3,200 are read at the most, in half a second."""

STATES_PER_READ: Final = 1000


class LoggedEvent(NamedTuple):
    """What the index on time has of an event."""

    event_id: str
    ingested_at: datetime
    forward_to_statsig: bool


class _LedgerEntry(NamedTuple):
    event_id: str
    state: str
    possible_duplicates: int


async def first_events(
    database: Any, *, shards: Sequence[int], since: datetime, at: datetime, seconds: float
) -> list[list[LoggedEvent]]:
    """Up to MANY_OF_A_SHARD events of each shard from `since` on, the oldest first, as they were `at` that time.

    Raises:
        StorageUnavailableError: no answer within `seconds`.
    """
    pages = await page_of_each(
        database,
        LOG_TABLE,
        LOG_INDEX,
        LoggedEvent._fields,
        shards=shards,
        begin=since,
        limit=MANY_OF_A_SHARD,
        seconds=seconds,
        at=at,
    )
    return [[LoggedEvent(*row) for row in page] for page in pages]


async def accounts_of(
    database: Any, events: Iterable[LoggedEvent], *, at: datetime, seconds: float
) -> list[HourlyAccount]:
    """The account of every hour that has events to account for, with their states as they were `at` that time.

    Raises:
        StorageUnavailableError: no answer within `seconds`.
    """
    chosen = list(events)

    async def read(part: Sequence[LoggedEvent]) -> list[Sequence[Any]]:
        async with spanner_call(seconds), database.snapshot(read_timestamp=at) as snapshot:
            return await read_by_key(snapshot, LEDGER_TABLE, _LedgerEntry._fields, [each.event_id for each in part])

    parts = await in_parts(chosen, read, rows=STATES_PER_READ) if chosen else []
    ledger = {entry.event_id: entry for rows in parts for entry in (_LedgerEntry(*row) for row in rows)}
    hours: dict[datetime, list[LoggedEvent]] = {}
    for event in chosen:
        if event.forward_to_statsig or event.event_id in ledger:
            hours.setdefault(_hour_of(event.ingested_at), []).append(event)
    return [_account(hour, logged, ledger) for hour, logged in sorted(hours.items())]


def _hour_of(at: datetime) -> datetime:
    return datetime(at.year, at.month, at.day, at.hour, tzinfo=UTC)


def _account(hour: datetime, events: Sequence[LoggedEvent], ledger: Mapping[str, _LedgerEntry]) -> HourlyAccount:
    entries = [ledger[event.event_id] for event in events if event.event_id in ledger]
    states = [entry.state for entry in entries]
    return HourlyAccount(
        hour=hour,
        accepted=len(events),
        delivered=states.count(ForwardState.DELIVERED),
        pending=states.count(ForwardState.PENDING),
        dead=states.count(ForwardState.DEAD),
        forwarded_later=sum(not event.forward_to_statsig for event in events),
        possible_duplicates=sum(entry.possible_duplicates for entry in entries),
    )
