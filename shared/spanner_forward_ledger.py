"""The forward ledger on Spanner.

A claim reads the batch by key and buffers its writes as mutations: one query, one commit. As one DML statement
(`UPDATE ... IN UNNEST ... THEN RETURN`) the emulator took several times longer.
"""

import asyncio
import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import anyio
from google.api_core import exceptions as google
from google.cloud.spanner_v1 import COMMIT_TIMESTAMP, KeySet, param_types

from shared import attempt_history
from shared import forward_ledger_rows as table
from shared.attempt_history import HistoryEntry, HistoryKind, extended
from shared.event import Event
from shared.forward_ledger import (
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
            async for row in await transaction.execute_sql(table.READ_FOR_CLAIM, *_event_ids(event_ids)):
                now: datetime = row[-1]
                entry = table.entry(row, token=token, now=now)
                entries[entry.event_id] = entry
                if entry.standing is Standing.CLAIMED:
                    until = now + timedelta(seconds=seconds)
                    claim = (entry.event_id, token, until, entry.possible_duplicates)
                    if row[2] in (None, token):
                        claims.append(claim)
                    else:
                        take_overs.append((*claim, attempt_history.encode(entry.history)))
            if claims:
                transaction.update(LEDGER_TABLE, table.CLAIM_COLUMNS, claims)
            if take_overs:
                transaction.update(LEDGER_TABLE, table.TAKE_OVER_COLUMNS, take_overs)
            return entries

        entries = await self._in_transaction(in_transaction)
        return {event_id: entries.get(event_id, Entry(event_id, Standing.MISSING)) for event_id in event_ids}

    async def settle_delivered(
        self, attempts: Sequence[Attempt], *, token: str | None = None, seconds_left: float = 0.0
    ) -> None:
        # While the claim lasts nobody else writes the row: one commit without a read.
        if token is None or seconds_left > self._timeout_seconds:
            await self._write(
                [table.settled(attempt, ForwardState.DELIVERED) for attempt in attempts], table.SETTLED_COLUMNS
            )
        elif attempts:
            await self._settle_late(attempts, token)

    async def _settle_late(self, attempts: Sequence[Attempt], token: str) -> None:
        async def in_transaction(transaction: Any) -> None:
            ours: set[str] = set()
            others: set[str] = set()
            values, types = _event_ids([attempt.event_id for attempt in attempts])
            async for event_id, state, holder in await transaction.execute_sql(table.READ_FOR_SETTLING, values, types):
                if holder == token:
                    ours.add(event_id)
                elif state == ForwardState.PENDING:
                    others.add(event_id)
            if ours:
                rows = [
                    table.settled(attempt, ForwardState.DELIVERED) for attempt in attempts if attempt.event_id in ours
                ]
                transaction.update(LEDGER_TABLE, table.SETTLED_COLUMNS, rows)
            if others:
                # The claim is left to its holder, who notes its own attempts by it.
                delivered = [(event_id, ForwardState.DELIVERED, None, COMMIT_TIMESTAMP) for event_id in others]
                transaction.update(LEDGER_TABLE, table.STATE_COLUMNS, delivered)

        await self._in_transaction(in_transaction)

    async def settle_dead(self, attempts: Sequence[Attempt], *, token: str) -> set[str]:
        rows = [table.settled(attempt, ForwardState.DEAD) for attempt in attempts]
        return await self._update_where(table.STILL_HELD, {"token": token}, rows, table.SETTLED_COLUMNS)

    async def release(self, attempts: Sequence[Attempt], *, token: str) -> None:
        tried = [table.noted(attempt) for attempt in attempts if attempt.last_attempt_at is not None]
        await self._update_where(table.STILL_OURS, {"token": token}, tried, table.ATTEMPT_COLUMNS)
        untried = [(attempt.event_id, None, None) for attempt in attempts if attempt.last_attempt_at is None]
        await self._update_where(table.STILL_OURS, {"token": token}, untried, table.UNCLAIMED_COLUMNS)

    async def pending(self, *, shard: int, older_than_seconds: float, limit: int) -> list[Event]:
        age = int(older_than_seconds * 1_000_000)
        parameters = {"shard": shard, "age": age, "again": age * REPUBLISH_FACTOR, "limit": limit}
        types = dict.fromkeys(parameters, param_types.INT64)
        async with translated(self._timeout_seconds), self._database.snapshot() as snapshot:
            return [table.event(row) async for row in await snapshot.execute_sql(table.PENDING, parameters, types)]

    async def oldest_pending_seconds(self) -> float | None:
        async with translated(self._timeout_seconds), self._database.snapshot() as snapshot:
            ((microseconds,),) = [row async for row in await snapshot.execute_sql(table.OLDEST_PENDING)]
        return None if microseconds is None else max(0.0, microseconds / 1e6)

    async def reopen(self, event_ids: Sequence[str], *, max_replays: int) -> dict[str, Reopened]:
        async def in_transaction(transaction: Any) -> dict[str, Reopened]:
            found: dict[str, Reopened] = {}
            rows: list[tuple[object, ...]] = []
            taken: list[tuple[object, ...]] = []
            (now,) = [row[0] async for row in await transaction.execute_sql("SELECT CURRENT_TIMESTAMP()")]
            keys = KeySet(keys=[(event_id,) for event_id in event_ids])
            async for row in await transaction.read(LEDGER_TABLE, table.READ_FOR_REOPENING, keys):
                each = found[row[0]] = table.reopened(row, now, max_replays)
                if each.found is Reopening.REOPENED:
                    history = extended(attempt_history.decode(row[4]), HistoryEntry(HistoryKind.REPLAY, now))
                    lines = attempt_history.encode(history)
                    state = ForwardState.PENDING
                    rows.append((each.event_id, None, None, state, COMMIT_TIMESTAMP, None, None, each.replays, lines))
                elif each.found is Reopening.PENDING and row[5] is not None:
                    taken.append((each.event_id, str(uuid.uuid4()), now))
            if taken:
                # From the holder of an expired claim, who could else still bury what is published now.
                transaction.update(LEDGER_TABLE, table.UNCLAIMED_COLUMNS, taken)
            if rows:
                transaction.update(LEDGER_TABLE, table.REOPENED_COLUMNS, rows)
            return found

        found = await self._in_transaction(in_transaction)
        return {event_id: found.get(event_id, Reopened(event_id, Reopening.MISSING)) for event_id in event_ids}

    async def dead(self, *, after: str = "", limit: int) -> list[Event]:
        types = {"after": param_types.STRING, "limit": param_types.INT64}
        async with translated(table.SCAN_SECONDS), self._database.snapshot() as snapshot:
            return [
                table.event(row)
                async for row in await snapshot.execute_sql(table.DEAD, {"after": after, "limit": limit}, types)
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
            await self._update_where(table.EXISTING, {}, rows, columns)

    async def _update_where(
        self, query: str, parameters: dict[str, str], rows: Sequence[tuple[object, ...]], columns: tuple[str, ...]
    ) -> set[str]:
        """Write those rows, keyed by their first value, whose key the query returns; their keys."""
        if not rows:
            return set()

        async def in_transaction(transaction: Any) -> set[str]:
            values, types = _event_ids([row[0] for row in rows])
            values |= parameters
            types |= dict.fromkeys(parameters, param_types.STRING)
            found = {row[0] async for row in await transaction.execute_sql(query, values, types)}
            if found:
                transaction.update(LEDGER_TABLE, columns, [row for row in rows if row[0] in found])
            return found

        written: set[str] = await self._in_transaction(in_transaction)
        return written

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
