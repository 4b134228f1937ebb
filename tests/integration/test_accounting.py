"""The accounts add up, and a mismatch is reported."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from shared.events.event import Event, EventLogRow
from shared.events.forward_ledger import DeliveryRecord
from shared.process.settings import IngressSettings, from_environment
from shared.spanner.accounting import SpannerAccounting
from shared.spanner.connection import open_database
from shared.spanner.event_log import LOG_TABLE, SpannerEventLogRepository
from shared.spanner.forward_ledger import SpannerForwardLedger
from shared.spanner.late_forward_ledger import SpannerLateForwardLedger

pytestmark = [pytest.mark.emulators, pytest.mark.usefixtures("_both_ways")]

HOUR = timedelta(hours=1)


def row(*, forward: bool = True) -> EventLogRow:
    event = Event(str(uuid4()), "accounted", None, None, 0, {})
    return EventLogRow(event, "{}", "d", "w", forward)


@pytest.fixture
async def database(environment: dict[str, str]) -> AsyncIterator[Any]:
    async with open_database(from_environment(IngressSettings, environment)) as opened:
        yield opened


async def log(database: Any, count: int, *, at: datetime | None = None, shards: int = 32) -> list[str]:
    rows = [row() for _ in range(count)]
    await SpannerEventLogRepository(database, timeout_seconds=5, shards=shards).append(rows)
    ids = [each.event.event_id for each in rows]
    if at is not None:
        async with database.batch() as batch:
            batch.update(LOG_TABLE, ("event_id", "ingested_at"), [(event_id, at) for event_id in ids])
    return ids


@pytest.fixture(params=[100, 1], ids=["few", "many"])
def _both_ways(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Events are few or many: read by key, or counted by queries."""
    for module in ("few_events", "accounting"):
        monkeypatch.setattr(f"shared.spanner.{module}.MANY_OF_A_SHARD", request.param)


async def test_counts_by_state_and_reports_what_is_in_none(database: Any) -> None:
    since = datetime.now(UTC) - HOUR
    await SpannerEventLogRepository(database, timeout_seconds=5).append([row(forward=False)])
    ids = await log(database, 5)
    ledger = SpannerForwardLedger(database, timeout_seconds=5, one_at_a_time=True)
    await ledger.claim(ids[:3], token="t", seconds=60)
    now = datetime.now(UTC)
    await ledger.settle_delivered([DeliveryRecord(event_id, 1, 1, now, "http_202", 202, ()) for event_id in ids[:2]])
    await ledger.settle_dead([DeliveryRecord(ids[2], 1, 0, now, "http_400", 400, ())], token="t")
    accounting = SpannerAccounting(database)
    until = await accounting.now() + HOUR

    (account,) = await accounting.per_hour(since=since, until=until)
    none = await accounting.unaccounted(since=since, until=until, limit=10)
    async with database.batch() as batch:  # what only a bug or a hand could do
        batch.update("NestEventForward", ("event_id", "state"), [(ids[3], "LOST")])
    (broken,) = await accounting.per_hour(since=since, until=until)
    (found,) = await accounting.unaccounted(since=since, until=until, limit=10)

    assert account.hour.minute == 0
    assert (account.accepted, account.delivered, account.pending, account.dead) == (5, 2, 2, 1)
    assert (account.possible_duplicates, account.unaccounted, none) == (2, 0, [])
    assert broken.unaccounted == 1
    assert (found.event_id, found.state) == (ids[3], "LOST")


async def test_an_event_that_was_forwarded_later_is_accounted_for_like_any_other(database: Any) -> None:
    await log(database, 2)
    rows = [row(forward=False) for _ in range(4)]
    await SpannerEventLogRepository(database, timeout_seconds=5).append(rows)
    late = [each.event.event_id for each in rows[:3]]
    ledger = SpannerForwardLedger(database, timeout_seconds=5, one_at_a_time=True)
    await SpannerLateForwardLedger(ledger.transactions, timeout_seconds=5).admit(late)
    await ledger.settle_delivered([DeliveryRecord(late[0], 1, 0, datetime.now(UTC), "http_202", 202, ())])
    accounting = SpannerAccounting(database)
    since, until = datetime.now(UTC) - HOUR, await accounting.now() + HOUR

    (account,) = await accounting.per_hour(since=since, until=until)
    async with database.batch() as batch:
        batch.update("NestEventForward", ("event_id", "state"), [(late[2], "LOST")])
    (broken,) = await accounting.per_hour(since=since, until=until)
    (found,) = await accounting.unaccounted(since=since, until=until, limit=10)

    assert (account.accepted, account.delivered, account.pending, account.dead) == (5, 1, 4, 0)
    assert (account.forwarded_later, account.unaccounted) == (3, 0)
    assert (broken.forwarded_later, broken.unaccounted, found.event_id) == (3, 1, late[2])


async def test_counts_the_events_of_the_time_that_is_asked_about_and_tells_how_far_it_is(database: Any) -> None:
    begin = datetime(2026, 3, 4, 5, 30, tzinfo=UTC)
    for hours, count in ((0, 1), (1, 2), (25, 3), (26, 4)):
        await log(database, count, at=begin + hours * HOUR)
    accounting = SpannerAccounting(database)
    reached: list[datetime] = []

    accounts = await accounting.per_hour(since=begin + HOUR, until=begin + 26 * HOUR, reached=reached.append)

    assert [(each.hour, each.accepted) for each in accounts] == [
        (datetime(2026, 3, 4, 6, tzinfo=UTC), 2),
        (datetime(2026, 3, 5, 6, tzinfo=UTC), 3),
    ]
    assert reached == sorted(reached)
    assert reached[-1] == begin + 26 * HOUR


async def test_a_time_with_many_events_is_counted_in_slices(database: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    begin = datetime(2026, 3, 4, tzinfo=UTC)
    for hours in range(12):
        await log(database, 2, at=begin + hours * HOUR, shards=1)
    accounting = SpannerAccounting(database, shards=1)

    async def slices(many: int) -> list[datetime]:
        for module in ("few_events", "accounting"):
            monkeypatch.setattr(f"shared.spanner.{module}.MANY_OF_A_SHARD", many)
        reached: list[datetime] = []
        accounts = await accounting.per_hour(since=begin, until=begin + 24 * HOUR, reached=reached.append)
        assert [each.accepted for each in accounts] == [2] * 12
        return reached

    assert await slices(100) == [begin + 24 * HOUR]
    assert (await slices(3))[0] == begin + 10 * HOUR


async def test_a_quiet_time_before_a_busy_one_is_counted_at_once(
    database: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = datetime(2026, 3, 4, tzinfo=UTC)
    await log(database, 2, at=begin, shards=1)
    await log(database, 20, at=begin + 2 * HOUR, shards=1)
    for module in ("few_events", "accounting"):
        monkeypatch.setattr(f"shared.spanner.{module}.MANY_OF_A_SHARD", 10)
    monkeypatch.setattr("shared.spanner.accounting.FIRST_SLICE", 0.1)  # slices would be seen
    accounting = SpannerAccounting(database, shards=1)
    reached: list[datetime] = []

    (account,) = await accounting.per_hour(since=begin, until=begin + 2 * HOUR, reached=reached.append)

    assert account.accepted == 2
    assert reached == [begin + 2 * HOUR]


async def test_events_of_shards_beyond_the_setting_are_counted_too(database: Any) -> None:
    ids = await log(database, 40, shards=1000)
    accounting = SpannerAccounting(database, shards=4)

    (account,) = await accounting.per_hour(since=datetime.now(UTC) - HOUR, until=await accounting.now() + HOUR)

    assert account.accepted == len(ids)
