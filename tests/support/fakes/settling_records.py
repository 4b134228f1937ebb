"""Claimed events of a WorkerWorld, and records of their attempts, for Settling to write."""

from collections.abc import Iterable

from shared.events.forward_ledger import DeliveryRecord
from tests.support.fakes.manual_clock import ManualClock
from tests.support.fakes.worker_world import WorkerWorld
from worker.batch import Claim

HOLDER = "ours"
CLAIM = Claim(HOLDER, ends_at=ManualClock().monotonic() + 60)
ANOTHER_CLAIM = Claim("ours too", ends_at=ManualClock().monotonic() + 90)


async def tried(world: WorkerWorld, count: int = 2) -> list[DeliveryRecord]:
    """Logs events and claims them for HOLDER; returns a record of one attempt on each, not yet written."""
    event_ids = [event.event_id for event in await world.log(count)]
    await world.ledger.claim(event_ids, token=HOLDER, seconds=60)
    return [DeliveryRecord(event_id, 1, 0, world.clock.now(), "http_202", 202, ()) for event_id in event_ids]


def ids(attempts: Iterable[DeliveryRecord]) -> set[str]:
    return {attempt.event_id for attempt in attempts}
