"""The forward ledger on Spanner.

A transaction reads its rows by key and buffers its writes as mutations: one read, one query for the time if needed, one
commit. As one DML statement (`UPDATE ... IN UNNEST ... THEN RETURN`) it took several times longer on the emulator.
"""

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from operator import attrgetter
from typing import Any, Final, TypeVar

from google.cloud.spanner_v1 import KeyRange, KeySet

from shared.events.forward_ledger import (
    DEFAULT_SHARDS,
    LEDGER_TABLE,
    ClaimOutcome,
    ClaimResult,
    DeliveryRecord,
    ForwardState,
)
from shared.events.timestamps import NANOS_PER_SECOND, from_datetime, to_rfc3339
from shared.spanner import forward_ledger_rows as table
from shared.spanner import mutations
from shared.spanner.connection import spanner_call
from shared.spanner.erasure import erased_among
from shared.spanner.parts import ROWS_AT_ONCE, in_parts
from shared.spanner.reading import AT_INTERVALS, read_by_key
from shared.spanner.transactions import Transactions, current_time

_BEGINNING: Final = datetime(1970, 1, 1, tzinfo=UTC)
"""Earlier than any row: pending_since is the time of a commit."""

S = TypeVar("S")
T = TypeVar("T")


class SpannerForwardLedger:
    """ForwardLedger on NestEventForward."""

    def __init__(
        self,
        database: Any,
        *,
        timeout_seconds: float,
        one_at_a_time: bool,
        shards: int = DEFAULT_SHARDS,
        rows_at_once: int = ROWS_AT_ONCE,
    ) -> None:
        """`one_at_a_time` is for the emulator (`Transactions`). `rows_at_once` is the most rows of one transaction."""
        self._database = database
        self._timeout_seconds = timeout_seconds
        self._rows_at_once = rows_at_once
        self._nothing_pending_before = [_BEGINNING] * shards
        self.transactions = Transactions(database, one_at_a_time=one_at_a_time)

    @property
    def nothing_pending_before(self) -> datetime | None:
        """The time before which nothing is pending, in any shard; None before `oldest_pending_seconds` has looked."""
        earliest = min(self._nothing_pending_before)
        return None if earliest == _BEGINNING else earliest

    async def claim(
        self,
        event_ids: Sequence[str],
        *,
        token: str,
        seconds: float,
        own: Mapping[str, Collection[str]] | None = None,
    ) -> dict[str, ClaimResult]:
        if not event_ids:
            return {}

        async def claim_part(part: Sequence[str]) -> dict[str, ClaimResult]:
            async def work(transaction: Any) -> dict[str, ClaimResult]:
                results: dict[str, ClaimResult] = {}
                claims: list[tuple[object, ...]] = []
                take_overs: list[tuple[object, ...]] = []
                rows = await read_by_key(transaction, LEDGER_TABLE, table.READ_FOR_CLAIM, part)
                # In the transaction, not before it: the emulator's clock runs ahead with each call, and a read outside
                # a transaction waits there until the machine's clock has caught up (0.2 s after 50,000 events).
                now = await current_time(transaction)
                until = to_rfc3339(from_datetime(now) + round(seconds * NANOS_PER_SECOND))
                for values in rows:
                    row = table.ClaimableRow(*values)
                    result = results[row.event_id] = row.claimed_by(token, own=own or {}, now=now)
                    if result.outcome is not ClaimOutcome.CLAIMED:
                        continue
                    if result.possible_duplicates == row.possible_duplicates:
                        claims.append(table.claim_values(row.event_id, token, until))
                    else:
                        take_overs.append(table.take_over_values(result, token, until))
                _update(transaction, table.CLAIM_COLUMNS, claims)
                _update(transaction, table.TAKE_OVER_COLUMNS, take_overs)
                for event_id in await erased_among(transaction, set(part) - results.keys()):
                    results[event_id] = ClaimResult(event_id, ClaimOutcome.ERASED)
                return results

            return await self._run(work)

        found: dict[str, ClaimResult] = {}
        for results in await self._in_parts(sorted(event_ids), claim_part):
            found |= results
        return {event_id: found.get(event_id) or ClaimResult(event_id, ClaimOutcome.MISSING) for event_id in event_ids}

    async def note(self, attempts: Sequence[DeliveryRecord], *, token: str) -> set[str]:
        async def note_part(part: Sequence[DeliveryRecord]) -> set[str]:
            async def work(transaction: Any) -> set[str]:
                ours = {holder.event_id: holder for holder in await _holders(transaction, part) if holder.is_of(token)}
                if not ours:
                    return set()
                now = await current_time(transaction)
                rows = [table.attempt_values(record) for record in part if record.event_id in ours]
                _update(transaction, table.ATTEMPT_COLUMNS, rows)
                return {event_id for event_id, holder in ours.items() if holder.may_go_on(now)}

            return await self._run(work)

        return set().union(*await self._in_parts(_by_event(attempts), note_part))

    async def give_up(self, attempts: Sequence[DeliveryRecord], *, token: str) -> set[str]:
        return await self._write_held(attempts, token, table.GIVEN_UP_COLUMNS, table.given_up)

    async def settle_delivered(
        self,
        attempts: Sequence[DeliveryRecord],
        *,
        token: str | None = None,
        seconds_left: float = 0.0,
        within_seconds: float | None = None,
    ) -> None:
        within = self._timeout_seconds if within_seconds is None else within_seconds

        async def settle_part(part: Sequence[DeliveryRecord]) -> None:
            # While the claim lasts no other batch writes the row: one commit without a read is enough. Only an erasure
            # may have taken the claim; it then finds the event delivered.
            if (token is not None and seconds_left <= within) or not await self._settle_unread(part, within):
                await self._settle_read(part, token, within)

        await self._in_parts(_by_event(attempts), settle_part)

    async def _settle_unread(self, records: Sequence[DeliveryRecord], within_seconds: float) -> bool:
        """False if a row no longer exists; then none was written."""
        rows = list(table.settled(records, ForwardState.DELIVERED))
        return await self.transactions.commit(
            lambda batch: _update(batch, table.SETTLED_COLUMNS, rows), within_seconds=within_seconds
        )

    async def _settle_read(self, records: Sequence[DeliveryRecord], token: str | None, within_seconds: float) -> None:
        async def work(transaction: Any) -> None:
            ours: set[str] = set()
            others: list[str] = []
            for holder in await _holders(transaction, records):
                if token in (None, holder.claim_token):
                    ours.add(holder.event_id)
                elif holder.state == ForwardState.PENDING:
                    others.append(holder.event_id)
            delivered = ForwardState.DELIVERED
            rows = list(table.settled((record for record in records if record.event_id in ours), delivered))
            _update(transaction, table.SETTLED_COLUMNS, rows)
            # The claim is left to its holder, who records its own attempts under it.
            _update(transaction, table.STATE_COLUMNS, [table.state_values(event_id, delivered) for event_id in others])

        await self._run(work, within_seconds)

    async def settle_dead(self, attempts: Sequence[DeliveryRecord], *, token: str) -> set[str]:
        rows = partial(table.settled, state=ForwardState.DEAD)
        return await self._write_held(attempts, token, table.SETTLED_COLUMNS, rows)

    async def _write_held(
        self,
        attempts: Sequence[DeliveryRecord],
        token: str,
        columns: tuple[str, ...],
        rows: Callable[[Iterable[DeliveryRecord]], Iterable[tuple[object, ...]]],
    ) -> set[str]:
        """Write the rows of the events that are pending under an unexpired claim of the token; returns those events."""

        async def write_part(part: Sequence[DeliveryRecord]) -> set[str]:
            async def work(transaction: Any) -> set[str]:
                ours = [holder for holder in await _holders(transaction, part) if holder.is_of(token)]
                now = await current_time(transaction) if ours else None
                held = {holder.event_id for holder in ours if now is not None and holder.may_go_on(now)}
                _update(transaction, columns, list(rows(each for each in part if each.event_id in held)))
                return held

            return await self._run(work)

        return set().union(*await self._in_parts(_by_event(attempts), write_part))

    async def release(
        self, attempts: Sequence[DeliveryRecord], *, token: str, within_seconds: float | None = None
    ) -> None:
        async def release_part(part: Sequence[DeliveryRecord]) -> None:
            async def work(transaction: Any) -> None:
                ours = {holder.event_id: holder for holder in await _holders(transaction, part) if holder.is_of(token)}
                records = [record for record in part if record.event_id in ours]
                waits = any(record.wait_seconds is not None for record in records)
                now = await current_time(transaction) if waits else None
                rows: dict[tuple[str, ...], list[tuple[object, ...]]] = {}
                for record in records:
                    values = table.released(record, ours[record.event_id], now)
                    rows.setdefault(tuple(values), []).append(tuple(values.values()))
                for columns, of_these in rows.items():
                    _update(transaction, columns, of_these)

            await self._run(work, within_seconds)

        await self._in_parts(_by_event(attempts), release_part)

    async def oldest_pending_seconds(self) -> float | None:
        # Reads the first entry of each shard. An aggregate would go through all pending events, and the emulator goes
        # through the whole index for any query (100,000 rows: 5 s). Each read begins where the last one found the
        # oldest, since later events have later times: before it lie deleted entries, which Spanner would go through.
        oldest: list[datetime] = []
        # Single-use snapshots: one for several reads is a transaction, and on the emulator it ends the running one.
        async with spanner_call(self._timeout_seconds):
            async with self._database.snapshot() as snapshot:
                now = await current_time(snapshot)
            for shard, begin in enumerate(self._nothing_pending_before):
                keys = KeySet(ranges=[KeyRange(start_closed=[shard, begin], end_closed=[shard])])
                async with self._database.snapshot() as snapshot:
                    found = await snapshot.read(
                        LEDGER_TABLE, ("pending_since",), keys, table.PENDING_INDEX, 1, retry=AT_INTERVALS
                    )
                    first = [row[0] async for row in found]
                self._nothing_pending_before[shard] = first[0] if first else now
                oldest += first
        return max(0.0, (now - min(oldest)).total_seconds()) if oldest else None

    async def _in_parts(self, items: Sequence[S], call: Callable[[Sequence[S]], Awaitable[T]]) -> list[T]:
        return await in_parts(items, call, rows=self._rows_at_once) if items else []

    async def _run(self, work: Callable[[Any], Awaitable[T]], within_seconds: float | None = None) -> T:
        within = self._timeout_seconds if within_seconds is None else within_seconds
        return await self.transactions.run(work, within_seconds=within)


async def _holders(transaction: Any, records: Sequence[DeliveryRecord]) -> list[table.Holder]:
    event_ids = [record.event_id for record in records]
    return [table.Holder(*row) for row in await read_by_key(transaction, LEDGER_TABLE, table.READ_HOLDER, event_ids)]


def _by_event(records: Sequence[DeliveryRecord]) -> list[DeliveryRecord]:
    """Sorted by key, so that the rows of one transaction are neighbours and lie in few splits."""
    return sorted(records, key=attrgetter("event_id"))


def _update(buffer: Any, columns: tuple[str, ...], rows: Sequence[tuple[object, ...]]) -> None:
    if rows:
        mutations.update(buffer, LEDGER_TABLE, columns, rows)
