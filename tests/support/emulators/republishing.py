"""Pending events of one shard, and how the contract suites of the republish ledger list and mark them."""

from datetime import UTC, datetime

from shared.events.republish_ledger import Cursor
from tests.support.emulators.storages import Storage
from tests.support.fakes.memory_event_log import LedgerRow
from tests.support.sample_events import in_shard, sample_row

AT = datetime(2026, 3, 4, 5, 6, 7, 891_011, UTC)

AGE = 0.1

SHARD = 3

HELD = 1.0
"""Seconds of a claim that lasts a few calls to the emulator."""

NEVER = (3600.0,)
"""Intervals that no test waits for."""


async def logged(storage: Storage, shard: int = SHARD) -> str:
    event_id = in_shard(shard)
    await storage.repository.append([sample_row(event_id=event_id)])
    return event_id


async def logged_together(storage: Storage, count: int) -> list[str]:
    """In one commit, which gives all of them the same pending_since; in the order of the index."""
    event_ids = sorted(in_shard(SHARD) for _ in range(count))
    await storage.repository.append([sample_row(event_id=event_id) for event_id in event_ids])
    return event_ids


async def unpublished(
    storage: Storage, *, shard: int = SHARD, after: Cursor | None = None, age: float = 0.0, limit: int = 100
) -> list[str]:
    page = await storage.republishing.unpublished(shard=shard, after=after, older_than_seconds=age, limit=limit)
    return page.event_ids


async def mark(storage: Storage, *event_ids: str, interval: float = 3600.0, force: bool = False) -> list[str]:
    found = await storage.republishing.mark_republished(event_ids, intervals=(interval,), force=force)
    return [each.event_id for each in found]


async def due(storage: Storage, *, limit: int = 100) -> list[str]:
    return await storage.republishing.due_again(shard=SHARD, limit=limit)


def seconds_between(row: LedgerRow) -> float:
    """From the mark to when it is due again."""
    assert row.again_at is not None
    assert row.republished_at is not None
    return (row.again_at - row.republished_at).total_seconds()
