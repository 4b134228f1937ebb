"""What operators ask in an incident costs by what it answers, whatever the tables hold.

The emulator plans no query as Spanner does. So what is looked at is what the client reads, call by call, and that each
query is one of an index that holds only what is asked about, or one by its times.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Self

import pytest

from shared.spanner.accounting import SpannerAccounting
from tests.support.emulators.seeded_dead_letters import SeededDeadLetters
from worker.operators.state.backlog import Backlog

pytestmark = pytest.mark.emulators

BOUNDED = ("NestEventForwardPending", "NestEventForwardDead", "NestEventLogByTime")
"""The indexes by which a query is bounded."""


@dataclass
class Noting:
    """A database that notes each call, by its table and index or its query, and how many rows it brought."""

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


async def looked(graveyard: SeededDeadLetters) -> list[tuple[str, int]]:
    noting = Noting(graveyard.database)
    backlog = Backlog(noting, shards=graveyard.settings.forward_shards)
    assert await backlog.pending() == 3
    assert await backlog.pending_by_estimate() % graveyard.settings.forward_shards == 0
    assert len((await backlog.oldest()).events) == 3
    assert sum(each.events for each in await backlog.dead()) == 2
    assert await backlog.beyond() == []
    return sorted(noting.calls)


@pytest.mark.timeout(90)
async def test_a_look_reads_as_much_of_thousands_of_settled_events_as_of_two_hundred(
    graveyard: SeededDeadLetters,
) -> None:
    await graveyard.log(3)
    await graveyard.settle_dead(await graveyard.log(2), "http_400", 400)
    await graveyard.settle_delivered(await graveyard.log(200))
    few = await looked(graveyard)

    await graveyard.settle_delivered(await graveyard.log(3_000))

    assert await looked(graveyard) == few
    assert max(rows for _, rows in few) <= 3


@pytest.mark.timeout(90)
async def test_the_sample_of_what_was_just_accepted_is_bounded_however_much_it_was(
    graveyard: SeededDeadLetters,
) -> None:
    await graveyard.log(2_000)
    noting = Noting(graveyard.database)
    shards = graveyard.settings.forward_shards

    recent = await Backlog(noting, shards=shards).recent()

    assert recent.looked_at <= 16 * shards
    assert sum(rows for _, rows in noting.calls) <= 2 * recent.looked_at + 1


async def test_accounts_are_counted_by_the_index_on_times_and_joined_by_key(graveyard: SeededDeadLetters) -> None:
    await graveyard.log(20)
    noting = Noting(graveyard.database)
    accounting = SpannerAccounting(noting, staleness=timedelta(0))

    (hour,) = await accounting.per_hour(
        since=datetime.now(UTC) - timedelta(minutes=1), until=await accounting.now() + timedelta(minutes=1)
    )

    assert hour.accepted == 20
    queries = [name for name, _ in noting.calls if "COUNTIF" in name]
    assert queries
    assert all(query.count("JOIN_METHOD=APPLY_JOIN") == 2 for query in queries)


async def test_scans_of_what_is_pending_begin_where_the_ledger_found_that_nothing_is_before(
    graveyard: SeededDeadLetters,
) -> None:
    """Before lie the entries of what was settled, which Spanner keeps for an hour and would go through."""
    await graveyard.settle_delivered(await graveyard.log(3))
    before = graveyard.ledger.nothing_pending_before
    (event,) = await graveyard.log(1)
    await graveyard.ledger.oldest_pending_seconds()
    begin = graveyard.ledger.nothing_pending_before
    assert begin is not None
    backlog = Backlog(graveyard.database, shards=graveyard.settings.forward_shards)
    (found,) = (await backlog.oldest(begin=begin)).events
    later = begin + timedelta(microseconds=1)

    assert before is None
    assert (found.event_name, found.pending_since) == (event.event_name, begin)
    assert (await backlog.pending(begin=begin), await backlog.pending(begin=later)) == (1, 0)
    assert (await backlog.oldest(begin=later)).events == ()
