"""The tally counts what a worker settled, once it is settled, and remembers which request failed last."""

from datetime import UTC, datetime

import pytest

from shared.errors import StorageUnavailableError
from shared.events.forward_ledger import DeliveryRecord
from tests.support.fakes.manual_clock import ManualClock
from tests.support.fakes.memory_event_log import MemoryEventLogRepository, MemoryStore
from tests.support.fakes.memory_forward_ledger import MemoryForwardLedger
from tests.support.sample_events import sample_row
from worker.batch import Claim
from worker.settling import Settling
from worker.tally import Tally

AT = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)


class World:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.store = MemoryStore(self.clock)
        self.ledger = MemoryForwardLedger(self.store)
        self.tally = Tally(self.clock)
        self.settling = Settling(self.ledger, self.clock, patience_seconds=0.01, tally=self.tally)
        self.claim = Claim("t", ends_at=self.clock.monotonic() + 60)

    async def claimed(self, count: int) -> list[DeliveryRecord]:
        rows = [sample_row() for _ in range(count)]
        await MemoryEventLogRepository(self.store).append(rows)
        ids = [row.event.event_id for row in rows]
        await self.ledger.claim(ids, token="t", seconds=60)
        return [DeliveryRecord(event_id, 1, 0, AT, "http_202", 202, ()) for event_id in ids]

    @property
    def counted(self) -> tuple[int, int]:
        return self.tally.delivered, self.tally.dead_lettered


@pytest.fixture
async def world() -> World:
    return World()


async def test_what_is_settled_is_counted(world: World) -> None:
    attempts = await world.claimed(6)

    assert await world.settling.settle_delivered(attempts[:3], world.claim)
    await world.settling.settle_at_the_end(attempts[3:4], world.claim)
    await world.settling.settle_dead(attempts[4:], world.claim)

    assert world.counted == (4, 2)


async def test_what_could_not_be_settled_is_counted_once_it_is(world: World) -> None:
    attempts = await world.claimed(2)
    world.ledger.failures.fail_until_mended("settle_delivered", StorageUnavailableError("down"))
    assert not await world.settling.settle_delivered(attempts, world.claim)
    before = world.counted
    world.ledger.failures.mend()

    await world.settling.settle_remembered([attempt.event_id for attempt in attempts])

    assert (before, world.counted) == ((0, 0), (2, 0))


def test_what_failed_last_stays_known_when_counting_starts_anew() -> None:
    clock = ManualClock()
    tally = Tally(clock)
    tally.delivered = 3

    tally.failed("timeout")
    tally.reset()

    assert (tally.delivered, tally.failed_requests) == (0, 0)
    assert (tally.last_failure, tally.last_failure_at) == ("timeout", clock.now())
