"""The cost of operators' questions depends on their answers, not on the size of the tables.

The emulator does not plan queries as Spanner does. So these tests check what the client reads, call by call, and that
each query uses an index that holds only what it asks for, or an index by time.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Self

import pytest

from shared.spanner.accounting import SpannerAccounting
from tests.support.emulators.seeded_events import SeededEvents
from worker.operators.connections import open_connections
from worker.operators.events.tail import Tail
from worker.operators.events.tail_events import TailChoice
from worker.operators.state.backlog import Backlog
from worker.operators.state.snapshot import take_snapshot

pytestmark = pytest.mark.emulators

BOUNDED = ("NestEventForwardPending", "NestEventForwardDead", "NestEventLogByTime")
"""Indexes that bound a query."""


@dataclass
class Noting:
    """A database that records each call, by table and index or by query, and how many rows it returned."""

    database: Any
    calls: list[tuple[str, int]] = field(default_factory=list)

    def snapshot(self, **options: Any) -> "_NotingSnapshot":
        return _NotingSnapshot(self.database.snapshot(**options), self.calls)


class _NotingSnapshot:
    def __init__(self, manager: Any, calls: list[tuple[str, int]]) -> None:
        self._manager = manager
        self._calls = calls

    async def __aenter__(self) -> Self:
        self._snapshot = await self._manager.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> Any:
        return await self._manager.__aexit__(*error)

    async def read(
        self, table: str, columns: Sequence[str], keys: Any, index: str = "", limit: int = 0, **options: Any
    ) -> AsyncIterator[Sequence[Any]]:
        assert limit or keys.keys, "a range is read with a limit"
        rows = await self._snapshot.read(table, columns, keys, index, limit, **options)
        return self._noted(f"{table} {index}", rows)

    async def execute_sql(self, query: str, *arguments: Any, **options: Any) -> AsyncIterator[Sequence[Any]]:
        is_clock = query == "SELECT CURRENT_TIMESTAMP()"
        assert is_clock or any(f"FORCE_INDEX={index}}}" in query for index in BOUNDED), query
        return self._noted(query, await self._snapshot.execute_sql(query, *arguments, **options))

    async def _noted(self, name: str, rows: AsyncIterator[Sequence[Any]]) -> AsyncIterator[Sequence[Any]]:
        count = 0
        async for row in rows:
            count += 1
            yield row
        self._calls.append((name, count))


async def looked(seeded: SeededEvents) -> list[tuple[str, int]]:
    noting = Noting(seeded.database)
    backlog = Backlog(noting, shards=seeded.settings.forward_shards)
    assert await backlog.pending() == 3
    assert await backlog.pending_by_estimate() % seeded.settings.forward_shards == 0
    assert len((await backlog.oldest()).events) == 3
    assert sum(each.events for each in await backlog.dead()) == 2
    assert await backlog.pending_shards_beyond() == []
    return sorted(noting.calls)


@pytest.mark.timeout(90)
async def test_a_look_reads_as_much_of_thousands_of_settled_events_as_of_two_hundred(
    seeded: SeededEvents,
) -> None:
    await seeded.log(3)
    await seeded.settle_dead(await seeded.log(2), "http_400", 400)
    await seeded.settle_delivered(await seeded.log(200))
    few = await looked(seeded)

    await seeded.settle_delivered(await seeded.log(3_000))

    assert await looked(seeded) == few
    assert max(rows for _, rows in few) <= 3


@pytest.mark.timeout(90)
async def test_the_sample_of_what_was_just_accepted_is_bounded_however_much_it_was(
    seeded: SeededEvents,
) -> None:
    await seeded.log(2_000)
    noting = Noting(seeded.database)
    shards = seeded.settings.forward_shards

    recent = await Backlog(noting, shards=shards).recent()

    assert recent.looked_at <= 16 * shards
    assert sum(rows for _, rows in noting.calls) <= 2 * recent.looked_at + 1


async def test_a_round_of_tail_reads_what_came_since_the_last_one_and_no_more(seeded: SeededEvents) -> None:
    await seeded.settle_delivered(await seeded.log(1_000))
    noting = Noting(seeded.database)
    tail = Tail(noting, TailChoice(), shards=seeded.settings.forward_shards, shown=10)
    await tail.next()
    del noting.calls[:]

    await seeded.log(3)
    few = await tail.next()
    await seeded.log(300)
    many = await tail.next()

    assert (len(few.events), len(many.events), many.left_out) == (3, 10, 290)
    # Spanner's time and the events; then also their count.
    assert [rows for _, rows in noting.calls] == [1, 3, 1, 10, 1]


async def accounted(seeded: SeededEvents) -> list[tuple[str, int]]:
    noting = Noting(seeded.database)
    accounting = SpannerAccounting(noting)
    (hour,) = await accounting.per_hour(
        since=datetime.now(UTC) - timedelta(minutes=1), until=await accounting.now() + timedelta(minutes=1)
    )
    assert hour.accepted == 20
    return noting.calls


async def test_an_account_of_few_events_reads_them_and_no_others(seeded: SeededEvents) -> None:
    await seeded.log(20)

    calls = await accounted(seeded)

    assert not any("COUNTIF" in name for name, _ in calls)
    assert sum(rows for name, rows in calls if "NestEventLogByTime" in name) == 20
    assert sum(rows for name, rows in calls if "NestEventForward" in name) == 20


async def test_an_account_of_many_events_counts_them_by_the_index_on_times_and_joins_by_key(
    seeded: SeededEvents, monkeypatch: pytest.MonkeyPatch
) -> None:
    await seeded.log(20)
    for module in ("few_events", "accounting"):
        monkeypatch.setattr(f"shared.spanner.{module}.MANY_OF_A_SHARD", 1)

    queries = [name for name, _ in await accounted(seeded) if "COUNTIF" in name]

    assert queries
    assert all(query.count("JOIN_METHOD=APPLY_JOIN") == 2 for query in queries)


async def test_scans_of_what_is_pending_begin_where_the_ledger_found_that_nothing_is_before(
    seeded: SeededEvents,
) -> None:
    """Otherwise they pass the entries of settled events, which Spanner keeps for an hour."""
    await seeded.settle_delivered(await seeded.log(3))
    before = seeded.ledger.nothing_pending_before
    (event,) = await seeded.log(1)
    await seeded.ledger.oldest_pending_seconds()
    begin = seeded.ledger.nothing_pending_before
    assert begin is not None
    backlog = Backlog(seeded.database, shards=seeded.settings.forward_shards)
    (found,) = (await backlog.oldest(begin=begin)).events
    later = begin + timedelta(microseconds=1)

    assert before is None
    assert (found.event_name, found.pending_since) == (event.event_name, begin)
    assert (await backlog.pending(begin=begin), await backlog.pending(begin=later)) == (1, 0)
    assert (await backlog.oldest(begin=later)).events == ()


async def test_status_counts_pending_events_only_where_it_did_not_read_all_of_them(
    seeded: SeededEvents, monkeypatch: pytest.MonkeyPatch
) -> None:
    await seeded.log(70)

    async def counted() -> int:
        async with open_connections(seeded.settings) as connections:
            noting = Noting(connections.database)
            snapshot = await take_snapshot(replace(connections, database=noting))
        assert snapshot.pending == 70
        return sum("COUNT(*)" in name and "NestEventForwardPending" in name for name, _ in noting.calls)

    assert await counted() == 0
    monkeypatch.setattr(Backlog.oldest, "__defaults__", (1,))
    assert await counted() == 2
