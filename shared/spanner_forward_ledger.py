"""The forward ledger on Spanner.

A claim reads the batch by key and buffers its writes as mutations: one query, one commit. As one DML statement
(`UPDATE ... IN UNNEST ... THEN RETURN`) the emulator took several times longer.
"""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import anyio
from google.api_core import exceptions as google
from google.cloud.spanner_v1 import COMMIT_TIMESTAMP, KeySet, param_types

from shared import attempt_history
from shared.attempt_history import HistoryEntry, HistoryKind, extended
from shared.event import RESERVED_METADATA_KEY, Event
from shared.forward_ledger import (
    FORWARD_SHARDS,
    LEDGER_TABLE,
    REPUBLISH_FACTOR,
    Attempt,
    Entry,
    ForwardState,
    Reopened,
    Reopening,
    Standing,
)
from shared.spanner import ABORTED_RETRY_SECONDS, translated
from shared.telemetry.tracing import TRACEPARENT
from shared.timestamps import from_datetime

_READ_FOR_CLAIM: Final = f"""
SELECT event_id, state, claim_token, claimed_until, attempts, possible_duplicates, replays, history,
  CURRENT_TIMESTAMP()
FROM {LEDGER_TABLE} WHERE event_id IN UNNEST(@event_ids)"""  # noqa: S608 - a constant table name

_STILL_OURS: Final = f"""
SELECT event_id FROM {LEDGER_TABLE}
WHERE event_id IN UNNEST(@event_ids) AND state = 'PENDING' AND claim_token = @token"""  # noqa: S608 - as above

_STILL_HELD: Final = f"{_STILL_OURS} AND claimed_until > CURRENT_TIMESTAMP()"

_EXISTING: Final = f"SELECT event_id FROM {LEDGER_TABLE} WHERE event_id IN UNNEST(@event_ids)"  # noqa: S608 - as above

# The hint names the emulator, which otherwise refuses to query a NULL_FILTERED index; Spanner itself ignores it.
_PENDING: Final = f"""
@{{spanner_emulator.disable_query_null_filtered_index_check=true}}
SELECT e.event_id, e.event_name, e.event_type, e.actor_id, e.event_ts, e.metadata
FROM {LEDGER_TABLE}@{{FORCE_INDEX=NestEventForwardPending}} AS f JOIN NestEventLog AS e ON e.event_id = f.event_id
WHERE f.forward_shard = @shard AND f.pending_since < TIMESTAMP_SUB(CURRENT_TIMESTAMP(), INTERVAL @age MICROSECOND)
  AND (f.republished_at IS NULL OR f.republished_at < TIMESTAMP_SUB(CURRENT_TIMESTAMP(), INTERVAL @again MICROSECOND))
  AND (f.claimed_until IS NULL OR f.claimed_until < CURRENT_TIMESTAMP())
ORDER BY f.pending_since LIMIT @limit"""  # noqa: S608 - as above

# A look at the first row of each shard, where an aggregate would read all that is pending.
_OLDEST_PENDING: Final = f"""
@{{spanner_emulator.disable_query_null_filtered_index_check=true}}
SELECT TIMESTAMP_DIFF(CURRENT_TIMESTAMP(), MIN(oldest), MICROSECOND) FROM (
  SELECT (SELECT f.pending_since FROM {LEDGER_TABLE}@{{FORCE_INDEX=NestEventForwardPending}} AS f
          WHERE f.forward_shard = shard AND f.pending_since IS NOT NULL ORDER BY f.pending_since LIMIT 1) AS oldest
  FROM UNNEST(GENERATE_ARRAY(0, {FORWARD_SHARDS - 1})) AS shard)"""  # noqa: S608 - as above

_DEAD: Final = f"""
SELECT e.event_id, e.event_name, e.event_type, e.actor_id, e.event_ts, e.metadata
FROM {LEDGER_TABLE} AS f JOIN NestEventLog AS e ON e.event_id = f.event_id
WHERE f.event_id > @after AND f.state = 'DEAD' ORDER BY f.event_id LIMIT @limit"""  # noqa: S608 - as above

_SCAN_SECONDS: Final = 300.0
"""For a read of the whole ledger, as in shared/accounting.py."""

_ATTEMPT_COLUMNS: Final = (
    "event_id",
    "attempts",
    "possible_duplicates",
    "last_attempt_at",
    "last_reason",
    "last_status",
    "history",
    "claim_token",
    "claimed_until",
)
_SETTLED_COLUMNS: Final = (*_ATTEMPT_COLUMNS, "state", "pending_since", "settled_at")
_UNCLAIMED_COLUMNS: Final = ("event_id", "claim_token", "claimed_until")
_READ_FOR_REOPENING: Final = ("event_id", "state", "claimed_until", "replays", "history")
_REOPENED_COLUMNS: Final = (*_UNCLAIMED_COLUMNS, "state", "pending_since", "settled_at", "republished_at", "replays",
                            "history")  # fmt: skip
_CLAIM_COLUMNS: Final = ("event_id", "claim_token", "claimed_until", "possible_duplicates")
_TAKE_OVER_COLUMNS: Final = (*_CLAIM_COLUMNS, "history")


class SpannerForwardLedger:
    """ForwardLedger on NestEventForward."""

    def __init__(self, database: Any, *, timeout_seconds: float) -> None:
        self._database = database
        self._timeout_seconds = timeout_seconds
        # The client begins all read-write transactions on one multiplexed session, which the emulator (1.5.28) takes
        # for an ordinary one: a second transaction ends the first, with NOT_FOUND or FAILED_PRECONDITION in place of
        # ABORTED. To wait in turn costs a process nothing: a transaction is some 20 ms for up to 500 events.
        self._one_at_a_time = anyio.Lock()

    async def claim(self, event_ids: Sequence[str], *, token: str, seconds: float) -> dict[str, Entry]:
        async def in_transaction(transaction: Any) -> dict[str, Entry]:
            entries: dict[str, Entry] = {}
            claims: list[tuple[object, ...]] = []
            take_overs: list[tuple[object, ...]] = []
            async for row in await transaction.execute_sql(_READ_FOR_CLAIM, *_event_ids(event_ids)):
                now: datetime = row[-1]
                entry = _entry(row, token=token, now=now)
                entries[entry.event_id] = entry
                if entry.standing is Standing.CLAIMED:
                    until = now + timedelta(seconds=seconds)
                    claim = (entry.event_id, token, until, entry.possible_duplicates)
                    if row[2] in (None, token):
                        claims.append(claim)
                    else:
                        take_overs.append((*claim, attempt_history.encode(entry.history)))
            if claims:
                transaction.update(LEDGER_TABLE, _CLAIM_COLUMNS, claims)
            if take_overs:
                transaction.update(LEDGER_TABLE, _TAKE_OVER_COLUMNS, take_overs)
            return entries

        entries = await self._in_transaction(in_transaction)
        return {event_id: entries.get(event_id, Entry(event_id, Standing.MISSING)) for event_id in event_ids}

    async def settle_delivered(self, attempts: Sequence[Attempt]) -> None:
        await self._write([_settled(attempt, ForwardState.DELIVERED) for attempt in attempts], _SETTLED_COLUMNS)

    async def settle_dead(self, attempts: Sequence[Attempt], *, token: str) -> None:
        rows = [_settled(attempt, ForwardState.DEAD) for attempt in attempts]
        await self._update_where(_STILL_HELD, {"token": token}, rows, _SETTLED_COLUMNS)

    async def release(self, attempts: Sequence[Attempt], *, token: str) -> None:
        tried = [_noted(attempt) for attempt in attempts if attempt.last_attempt_at is not None]
        await self._update_where(_STILL_OURS, {"token": token}, tried, _ATTEMPT_COLUMNS)
        untried = [(attempt.event_id, None, None) for attempt in attempts if attempt.last_attempt_at is None]
        await self._update_where(_STILL_OURS, {"token": token}, untried, _UNCLAIMED_COLUMNS)

    async def pending(self, *, shard: int, older_than_seconds: float, limit: int) -> list[Event]:
        age = int(older_than_seconds * 1_000_000)
        parameters = {"shard": shard, "age": age, "again": age * REPUBLISH_FACTOR, "limit": limit}
        types = dict.fromkeys(parameters, param_types.INT64)
        async with translated(self._timeout_seconds), self._database.snapshot() as snapshot:
            return [_event(row) async for row in await snapshot.execute_sql(_PENDING, parameters, types)]

    async def oldest_pending_seconds(self) -> float | None:
        async with translated(self._timeout_seconds), self._database.snapshot() as snapshot:
            ((microseconds,),) = [row async for row in await snapshot.execute_sql(_OLDEST_PENDING)]
        return None if microseconds is None else max(0.0, microseconds / 1e6)

    async def reopen(self, event_ids: Sequence[str], *, max_replays: int) -> dict[str, Reopened]:
        async def in_transaction(transaction: Any) -> dict[str, Reopened]:
            found: dict[str, Reopened] = {}
            rows: list[tuple[object, ...]] = []
            (now,) = [row[0] async for row in await transaction.execute_sql("SELECT CURRENT_TIMESTAMP()")]
            keys = KeySet(keys=[(event_id,) for event_id in event_ids])
            async for row in await transaction.read(LEDGER_TABLE, _READ_FOR_REOPENING, keys):
                each = found[row[0]] = _reopened(row, now, max_replays)
                if each.found is Reopening.REOPENED:
                    history = extended(attempt_history.decode(row[4]), HistoryEntry(HistoryKind.REPLAY, now))
                    lines = attempt_history.encode(history)
                    state = ForwardState.PENDING
                    rows.append((each.event_id, None, None, state, COMMIT_TIMESTAMP, None, None, each.replays, lines))
            if rows:
                transaction.update(LEDGER_TABLE, _REOPENED_COLUMNS, rows)
            return found

        found = await self._in_transaction(in_transaction)
        return {event_id: found.get(event_id, Reopened(event_id, Reopening.MISSING)) for event_id in event_ids}

    async def dead(self, *, after: str = "", limit: int) -> list[Event]:
        types = {"after": param_types.STRING, "limit": param_types.INT64}
        async with translated(_SCAN_SECONDS), self._database.snapshot() as snapshot:
            return [
                _event(row) async for row in await snapshot.execute_sql(_DEAD, {"after": after, "limit": limit}, types)
            ]

    async def note_republished(self, event_ids: Sequence[str]) -> None:
        await self._write([(event_id, COMMIT_TIMESTAMP) for event_id in event_ids], ("event_id", "republished_at"))

    async def _write(self, rows: Sequence[tuple[object, ...]], columns: tuple[str, ...]) -> None:
        """Write the rows that exist: one commit without a read, unless a row was deleted meanwhile."""
        if not rows:
            return
        async with translated(self._timeout_seconds):
            try:
                async with self._database.batch(
                    timeout_secs=self._timeout_seconds, default_retry_delay=ABORTED_RETRY_SECONDS
                ) as batch:
                    batch.update(LEDGER_TABLE, columns, rows)
            except google.NotFound:
                gone = True
            else:
                gone = False
        if gone:
            await self._update_where(_EXISTING, {}, rows, columns)

    async def _update_where(
        self, query: str, parameters: dict[str, str], rows: Sequence[tuple[object, ...]], columns: tuple[str, ...]
    ) -> None:
        """Write those rows, keyed by their first value, whose key the query returns."""
        if not rows:
            return

        async def in_transaction(transaction: Any) -> None:
            values, types = _event_ids([row[0] for row in rows])
            values |= parameters
            types |= dict.fromkeys(parameters, param_types.STRING)
            found = {row[0] async for row in await transaction.execute_sql(query, values, types)}
            if found:
                transaction.update(LEDGER_TABLE, columns, [row for row in rows if row[0] in found])

        await self._in_transaction(in_transaction)

    async def _in_transaction(self, work: Any) -> Any:
        async with translated(self._timeout_seconds), self._one_at_a_time:
            # In a task of its own: where its session could not be had, the client leaves a mark in the caller's context
            # by which it takes every later transaction for a nested one.
            return await asyncio.create_task(
                self._database.run_in_transaction(
                    work, timeout_secs=self._timeout_seconds, default_retry_delay=ABORTED_RETRY_SECONDS
                )
            )


def _event_ids(event_ids: Sequence[object]) -> tuple[dict[str, Any], dict[str, Any]]:
    return {"event_ids": list(event_ids)}, {"event_ids": param_types.Array(param_types.STRING)}


def _entry(row: Sequence[Any], *, token: str, now: datetime) -> Entry:
    event_id, state, holder, claimed_until, attempts, possible_duplicates, replays, lines, _ = row
    history = attempt_history.decode(lines)
    if state != ForwardState.PENDING:
        return Entry(event_id, Standing(state.lower()), attempts, possible_duplicates, replays, history)
    if holder is not None and holder != token:
        if claimed_until > now:
            return Entry(event_id, Standing.HELD, attempts, possible_duplicates, replays, history)
        # Its holder neither settled nor released it: the event may have been sent.
        possible_duplicates += 1
        history = extended(history, HistoryEntry(HistoryKind.TAKE_OVER, now))
    return Entry(event_id, Standing.CLAIMED, attempts, possible_duplicates, replays, history)


def _reopened(row: Sequence[Any], now: datetime, max_replays: int) -> Reopened:
    event_id, state, claimed_until, replays, _ = row
    if state == ForwardState.DELIVERED:
        return Reopened(event_id, Reopening.DELIVERED, replays)
    if state == ForwardState.PENDING:
        is_held = claimed_until is not None and claimed_until > now
        return Reopened(event_id, Reopening.HELD if is_held else Reopening.PENDING, replays)
    if replays >= max_replays:
        return Reopened(event_id, Reopening.QUARANTINED, replays)
    return Reopened(event_id, Reopening.REOPENED, replays + 1)


def _noted(attempt: Attempt) -> tuple[object, ...]:
    return (
        attempt.event_id,
        attempt.attempts,
        attempt.possible_duplicates,
        attempt.last_attempt_at,
        attempt.reason,
        attempt.status,
        attempt_history.encode(attempt.history),
        None,
        None,
    )


def _settled(attempt: Attempt, state: ForwardState) -> tuple[object, ...]:
    return (*_noted(attempt), state, None, COMMIT_TIMESTAMP)


def _event(row: Sequence[Any]) -> Event:
    event_id, event_name, event_type, actor_id, event_ts, metadata = row
    own = {key: value for key, value in metadata.items() if key != RESERVED_METADATA_KEY}
    # Of a row that nobody of ours wrote, `_eventLog` may be anything.
    service = metadata.get(RESERVED_METADATA_KEY)
    traceparent = service.get(TRACEPARENT) if isinstance(service, dict) else None
    return Event(
        event_id,
        event_name,
        event_type,
        actor_id,
        from_datetime(event_ts),
        own,
        traceparent if isinstance(traceparent, str) else None,
    )
