"""The forward ledger on Spanner.

A transaction reads its rows by key and buffers its writes as mutations: a read, a look at the time where that matters,
one commit. As one DML statement (`UPDATE ... IN UNNEST ... THEN RETURN`) the emulator took several times longer.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime
from operator import attrgetter
from typing import Any, Final, TypeVar

from google.cloud.spanner_v1 import KeyRange, KeySet

from shared.events import attempt_history
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
from shared.spanner.parts import ROWS_AT_ONCE, in_parts
from shared.spanner.reading import AT_INTERVALS, read_by_key
from shared.spanner.transactions import Transactions, current_time

_BEGINNING: Final = datetime(1970, 1, 1, tzinfo=UTC)
"""Before any row: pending_since is a commit's time."""

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
        """`one_at_a_time` is for the emulator, which does not bear two transactions of a process."""
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
        # Asked for once, and before: a claim that is judged by an earlier time only looks live for longer.
        async with spanner_call(self._timeout_seconds), self._database.snapshot() as snapshot:
            now = await current_time(snapshot)
        until = to_rfc3339(from_datetime(now) + round(seconds * NANOS_PER_SECOND))

        async def claim_part(part: Sequence[str]) -> dict[str, ClaimResult]:
            async def work(transaction: Any) -> dict[str, ClaimResult]:
                rows = await read_by_key(transaction, LEDGER_TABLE, table.READ_FOR_CLAIM, part)
                entries = {row[0]: table.entry(row, token=token, own=own or {}, now=now) for row in rows}
                claims: list[tuple[object, ...]] = []
                take_overs: list[tuple[object, ...]] = []
                for row in rows:
                    found = entries[row[0]]
                    if found.outcome is not ClaimOutcome.CLAIMED:
                        continue
                    if found.possible_duplicates == row[5]:
                        claims.append((found.event_id, token, until))
                    else:
                        noted = (found.possible_duplicates, attempt_history.encode(found.history))
                        take_overs.append((found.event_id, token, until, *noted))
                _update(transaction, table.CLAIM_COLUMNS, claims)
                _update(transaction, table.TAKE_OVER_COLUMNS, take_overs)
                return entries

            return await self._run(work)

        entries: dict[str, ClaimResult] = {}
        for found in await self._in_parts(sorted(event_ids), claim_part):
            entries |= found
        return {
            event_id: entries.get(event_id) or ClaimResult(event_id, ClaimOutcome.MISSING) for event_id in event_ids
        }

    async def note(self, attempts: Sequence[DeliveryRecord], *, token: str) -> set[str]:
        async def note_part(part: Sequence[DeliveryRecord]) -> set[str]:
            async def work(transaction: Any) -> set[str]:
                ours = {holder.event_id: holder for holder in await _holders(transaction, part) if holder.is_of(token)}
                if not ours:
                    return set()
                now = await current_time(transaction)
                rows = [table.noted(attempt) for attempt in part if attempt.event_id in ours]
                _update(transaction, table.ATTEMPT_COLUMNS, rows)
                return {event_id for event_id, holder in ours.items() if holder.may_go_on(now)}

            return await self._run(work)

        return set().union(*await self._in_parts(_by_event(attempts), note_part))

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
            # While the claim lasts nobody else writes the row: one commit without a read.
            if (token is not None and seconds_left <= within) or not await self._settle_unread(part, within):
                await self._settle_read(part, token, within)

        await self._in_parts(_by_event(attempts), settle_part)

    async def _settle_unread(self, attempts: Sequence[DeliveryRecord], within_seconds: float) -> bool:
        """False where a row was deleted meanwhile, and with it none was written."""
        rows = list(table.settled(attempts, ForwardState.DELIVERED))
        return await self.transactions.commit(
            lambda batch: _update(batch, table.SETTLED_COLUMNS, rows), within_seconds=within_seconds
        )

    async def _settle_read(self, attempts: Sequence[DeliveryRecord], token: str | None, within_seconds: float) -> None:
        async def work(transaction: Any) -> None:
            ours: set[str] = set()
            others: list[str] = []
            for holder in await _holders(transaction, attempts):
                if token in (None, holder.token):
                    ours.add(holder.event_id)
                elif holder.state == ForwardState.PENDING:
                    others.append(holder.event_id)
            delivered = ForwardState.DELIVERED
            settled = [attempt for attempt in attempts if attempt.event_id in ours]
            _update(transaction, table.SETTLED_COLUMNS, list(table.settled(settled, delivered)))
            # The claim is left to its holder, who notes its own attempts by it.
            _update(transaction, table.STATE_COLUMNS, [table.stated(event_id, delivered) for event_id in others])

        await self._run(work, within_seconds)

    async def settle_dead(self, attempts: Sequence[DeliveryRecord], *, token: str) -> set[str]:
        async def settle_part(part: Sequence[DeliveryRecord]) -> set[str]:
            async def work(transaction: Any) -> set[str]:
                ours = [holder for holder in await _holders(transaction, part) if holder.is_of(token)]
                now = await current_time(transaction) if ours else None
                held = {holder.event_id for holder in ours if now is not None and holder.may_go_on(now)}
                dead = [attempt for attempt in part if attempt.event_id in held]
                _update(transaction, table.SETTLED_COLUMNS, list(table.settled(dead, ForwardState.DEAD)))
                return held

            return await self._run(work)

        return set().union(*await self._in_parts(_by_event(attempts), settle_part))

    async def release(
        self, attempts: Sequence[DeliveryRecord], *, token: str, within_seconds: float | None = None
    ) -> None:
        async def release_part(part: Sequence[DeliveryRecord]) -> None:
            async def work(transaction: Any) -> None:
                ours = {holder.event_id: holder for holder in await _holders(transaction, part) if holder.is_of(token)}
                mine = [attempt for attempt in part if attempt.event_id in ours]
                now = await current_time(transaction) if any(each.wait_seconds is not None for each in mine) else None
                rows: dict[tuple[str, ...], list[tuple[object, ...]]] = {}
                for attempt in mine:
                    columns, row = table.released(attempt, ours[attempt.event_id], now)
                    rows.setdefault(columns, []).append(row)
                for columns, values in rows.items():
                    _update(transaction, columns, values)

            await self._run(work, within_seconds)

        await self._in_parts(_by_event(attempts), release_part)

    async def oldest_pending_seconds(self) -> float | None:
        # The first entry of each shard, read: an aggregate would go through all that is pending, and the emulator
        # answers any query of the index so (100,000 rows: 5 s). Each read begins where the last one found the oldest:
        # what becomes pending later has a later time, and before lie the deleted entries of what was settled, which
        # Spanner would go through again.
        oldest: list[datetime] = []
        # Single uses: a snapshot of several is a transaction, and on the emulator it ends the one that is running.
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


async def _holders(transaction: Any, attempts: Sequence[DeliveryRecord]) -> list[table.Holder]:
    event_ids = [attempt.event_id for attempt in attempts]
    return [table.Holder(*row) for row in await read_by_key(transaction, LEDGER_TABLE, table.READ_HOLDER, event_ids)]


def _by_event(attempts: Sequence[DeliveryRecord]) -> list[DeliveryRecord]:
    """Neighbours in the key space beside each other, so that few splits share a transaction."""
    return sorted(attempts, key=attrgetter("event_id"))


def _update(buffer: Any, columns: tuple[str, ...], rows: Sequence[tuple[object, ...]]) -> None:
    if rows:
        mutations.update(buffer, LEDGER_TABLE, columns, rows)
