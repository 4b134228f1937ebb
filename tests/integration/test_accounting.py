"""The accounts add up, and say so when they do not."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from shared.accounting import SpannerAccounting
from shared.event import Event, EventLogRow
from shared.event_log import SpannerEventLogRepository
from shared.forward_ledger import Attempt
from shared.settings import IngressSettings, from_environment
from shared.spanner import open_database
from shared.spanner_forward_ledger import SpannerForwardLedger

pytestmark = pytest.mark.emulators


def row(*, forward: bool = True) -> EventLogRow:
    event = Event(str(uuid4()), "accounted", None, None, 0, {})
    return EventLogRow(event, "{}", "d", None, "w", forward)


async def test_counts_by_state_and_reports_what_is_in_none(environment: dict[str, str]) -> None:
    settings = from_environment(IngressSettings, environment)
    since = datetime.now(UTC) - timedelta(hours=1)
    async with open_database(settings) as database:
        rows = [row() for _ in range(5)] + [row(forward=False)]
        await SpannerEventLogRepository(database, timeout_seconds=5).append(rows)
        ledger = SpannerForwardLedger(database, timeout_seconds=5, one_at_a_time=True)
        ids = [each.event.event_id for each in rows]
        await ledger.claim(ids[:3], token="t", seconds=60)
        now = datetime.now(UTC)
        await ledger.settle_delivered([Attempt(event_id, 1, 1, now, "http_202", 202, ()) for event_id in ids[:2]])
        await ledger.settle_dead([Attempt(ids[2], 1, 0, now, "http_400", 400, ())], token="t")
        accounting = SpannerAccounting(database, staleness=timedelta(0))

        (account,) = await accounting.per_hour(since=since)
        async with database.batch() as batch:  # what only a bug or a hand could do
            batch.update("NestEventForward", ("event_id", "state"), [(ids[3], "LOST")])
        (broken,) = await accounting.per_hour(since=since)

    assert account.hour.minute == 0
    assert (account.accepted, account.delivered, account.pending, account.dead) == (5, 2, 2, 1)
    assert (account.possible_duplicates, account.unaccounted) == (2, 0)
    assert broken.unaccounted == 1
