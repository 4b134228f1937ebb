"""The erasure of an actor's events on Spanner, and whether an event was erased."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from google.cloud.spanner_v1 import COMMIT_TIMESTAMP, KeyRange, KeySet, RequestOptions, param_types

from shared.events.dead_letter_table import DEAD_LETTER_TABLE
from shared.events.erasure import ERASED_TABLE, ERASER, HELD_ON_SECONDS, ActorEvent, Cursor, EventState, Found, Page
from shared.events.forward_ledger import LEDGER_TABLE
from shared.spanner import mutations
from shared.spanner.connection import spanner_call
from shared.spanner.event_log import LOG_TABLE
from shared.spanner.forward_ledger_rows import CLAIM_COLUMNS, claim_values, is_live
from shared.spanner.reading import AT_INTERVALS, by_key, read_by_key
from shared.spanner.shards import BEGINNING, shard_from
from shared.spanner.transactions import Transactions, current_time

ENTRIES_PER_STEP: Final = 20_000
"""Entries of the index that one step goes through: some tenths of a second."""

STEP_SECONDS: Final = 60.0
"""The bound on a query of a step, which is of low priority: others' work comes first."""

_LOG_INDEX: Final = "NestEventLogByTime"
_LETTER_INDEX: Final = "NestEventDeadLetterByEvent"

_AFTER: Final = f"""
FROM {LOG_TABLE}@{{FORCE_INDEX={_LOG_INDEX}}}
WHERE log_shard = @shard AND ingested_at > @after AND ingested_at < @before"""

# Both read that range of the index alone, which stores the actor. A step ends with all entries of one time, so that the
# time is enough to go on from.
_STEP: Final = f"""
SELECT COUNT(*), MAX(ingested_at) FROM (SELECT ingested_at {_AFTER} ORDER BY ingested_at LIMIT @entries)"""  # noqa: S608 - constants

_OF_ACTOR: Final = f"""
SELECT event_id, ingested_at {_AFTER} AND ingested_at <= @reached AND actor_id = @actor"""

_TYPES: Final = {
    "shard": param_types.INT64,
    "after": param_types.TIMESTAMP,
    "before": param_types.TIMESTAMP,
    "reached": param_types.TIMESTAMP,
    "entries": param_types.INT64,
    "actor": param_types.STRING,
}


class _LedgerRow(NamedTuple):
    """The columns that decide whether an event may be erased."""

    event_id: str
    state: str
    claim_token: str | None
    claimed_until: datetime | None

    def in_flight(self, now: datetime) -> bool:
        """Whether a worker may be sending the event. A settled one too: its claim may have been left to another."""
        held_on = timedelta(seconds=HELD_ON_SECONDS if self.claim_token == ERASER else 0)
        return is_live(self.claimed_until, now + held_on)


class SpannerErasure:
    """Erasure on NestEventLog, NestEventForward, NestEventDeadLetter and NestEventErased."""

    def __init__(
        self, transactions: Transactions, *, timeout_seconds: float, entries_per_step: int = ENTRIES_PER_STEP
    ) -> None:
        """`transactions` are those of the SpannerForwardLedger on the same database."""
        self._transactions = transactions
        self._timeout_seconds = timeout_seconds
        self._entries_per_step = entries_per_step

    async def search(self, actor_id: str, *, before: datetime, cursor: Cursor | None = None) -> Page:
        here = cursor or await self._shard_from(0)
        if here is None:
            return Page((), 0, None)
        place = {"shard": here.shard, "after": here.after, "before": before}
        ((entries, reached),) = await self._query(_STEP, place | {"entries": self._entries_per_step})
        rows = await self._query(_OF_ACTOR, place | {"reached": reached, "actor": actor_id}) if entries else []
        if entries < self._entries_per_step:
            next_one = await self._shard_from(here.shard + 1)
        else:
            next_one = Cursor(here.shard, reached)
        return Page([ActorEvent(*row) for row in rows], entries, next_one)

    async def _shard_from(self, first: int) -> Cursor | None:
        """The first shard from there on that has events, however many shards the settings name."""
        async with spanner_call(self._timeout_seconds):
            shard = await shard_from(self._transactions.database, LOG_TABLE, _LOG_INDEX, "log_shard", first)
        return None if shard is None else Cursor(shard, BEGINNING)

    async def _query(self, query: str, values: Mapping[str, Any]) -> list[Sequence[Any]]:
        low = RequestOptions(priority=RequestOptions.Priority.PRIORITY_LOW)
        types = {name: _TYPES[name] for name in values}
        async with spanner_call(STEP_SECONDS), self._transactions.database.snapshot() as snapshot:
            rows = await snapshot.execute_sql(query, values, types, request_options=low, retry=AT_INTERVALS)
            return [row async for row in rows]

    async def look(self, event_ids: Sequence[str]) -> Found:
        async with (
            spanner_call(self._timeout_seconds),
            self._transactions.database.snapshot(multi_use=True) as snapshot,
        ):
            now = await current_time(snapshot)
            states, _ = await _states(snapshot, event_ids, now)
            return Found(states, len(await _letters(snapshot, _erasable(states))))

    async def erase(self, event_ids: Sequence[str]) -> Found:
        async def work(transaction: Any) -> Found:
            now = await current_time(transaction)
            states, ledger = await _states(transaction, event_ids, now)
            erased = _erasable(states)
            letters = await _letters(transaction, erased)
            taken = [
                claim_values(row.event_id, ERASER, row.claimed_until + timedelta(seconds=HELD_ON_SECONDS))
                for row in ledger.values()
                if states.get(row.event_id) is EventState.IN_FLIGHT and row.claim_token != ERASER and row.claimed_until
            ]
            if taken:
                mutations.update(transaction, LEDGER_TABLE, CLAIM_COLUMNS, taken)
            if erased:
                rows = [(event_id, COMMIT_TIMESTAMP) for event_id in erased]
                transaction.insert_or_update(ERASED_TABLE, ("event_id", "erased_at"), rows)
                transaction.delete(LOG_TABLE, by_key(erased))  # and the ledger rows with them: ON DELETE CASCADE
            if letters:
                transaction.delete(DEAD_LETTER_TABLE, KeySet(keys=letters))
            return Found(states, len(letters))

        if not event_ids:
            return Found({}, 0)
        return await self._transactions.run(work, within_seconds=self._timeout_seconds)


async def erased_among(reader: Any, event_ids: Collection[str]) -> set[str]:
    """Those of the events that were erased, as a transaction or snapshot sees it."""
    if not event_ids:
        return set()
    return {row[0] for row in await read_by_key(reader, ERASED_TABLE, ("event_id",), sorted(event_ids))}


async def _states(
    reader: Any, event_ids: Sequence[str], now: datetime
) -> tuple[dict[str, EventState], dict[str, _LedgerRow]]:
    """The states of the events that have a log row, and the ledger rows, by event_id."""
    logged = await read_by_key(reader, LOG_TABLE, ("event_id", "forward_to_statsig"), event_ids)
    rows = await read_by_key(reader, LEDGER_TABLE, _LedgerRow._fields, event_ids)
    ledger = {row.event_id: row for row in (_LedgerRow(*values) for values in rows)}
    states = {e: _state(ledger.get(e), now, is_forwarded=is_forwarded) for e, is_forwarded in logged}
    return states, ledger


def _state(row: _LedgerRow | None, now: datetime, *, is_forwarded: bool) -> EventState:
    if row is None:
        return EventState.SETTLED_LONG_AGO if is_forwarded else EventState.NOT_FORWARDED
    if row.in_flight(now):
        return EventState.IN_FLIGHT
    return EventState(row.state.lower())


def _erasable(states: Mapping[str, EventState]) -> list[str]:
    return sorted(event_id for event_id, state in states.items() if state is not EventState.IN_FLIGHT)


async def _letters(reader: Any, event_ids: Sequence[str]) -> list[Sequence[Any]]:
    """The keys of all dead letters of these events; for poison by the event_id that its attributes name."""
    if not event_ids:
        return []
    ranges = [KeyRange(start_closed=[event_id], end_closed=[event_id]) for event_id in event_ids]
    columns, keys = ("subject", "message_id"), KeySet(ranges=ranges)
    rows = await reader.read(DEAD_LETTER_TABLE, columns, keys, _LETTER_INDEX, retry=AT_INTERVALS)
    return [row async for row in rows]
