"""The observer around the forward ledger, and the age of the oldest pending event."""

from collections.abc import Iterable

import anyio
import pytest

from shared.errors import StorageRejectedError, StorageUnavailableError
from shared.events.forward_ledger import DeliveryRecord
from shared.telemetry.metrics import (
    CLAIMED,
    DELIVERY_DELAY,
    LEDGER_DURATION,
    SETTLED,
)
from tests.support.eventually import eventually
from tests.support.fakes.worker_world import WorkerWorld
from tests.support.sample_events import sample_event
from tests.support.telemetry import MemoryTelemetry
from worker.telemetry.ledger import ObservedForwardLedger
from worker.telemetry.states import PendingAge


@pytest.fixture
def memory() -> MemoryTelemetry:
    return MemoryTelemetry()


@pytest.fixture
def world() -> WorkerWorld:
    return WorkerWorld()


def attempts(event_ids: Iterable[str]) -> list[DeliveryRecord]:
    return [DeliveryRecord(event_id, 1, 0, None, "http_202", 202, ()) for event_id in event_ids]


async def test_what_is_noted_and_what_is_ours_already_is_handed_on(memory: MemoryTelemetry, world: WorkerWorld) -> None:
    event_ids, _ = await world.logged_and_pulled(2)
    ledger = ObservedForwardLedger(world.ledger, memory.telemetry)
    await ledger.claim(event_ids, token="first", seconds=60)

    assert await ledger.note(attempts(event_ids), token="first") == set(event_ids)
    entries = await ledger.claim(event_ids, token="second", seconds=60, own={key: ["first"] for key in event_ids})

    assert [entry.is_resumed for entry in entries.values()] == [True, True]
    assert ({"operation": "note", "outcome": "ok"}, 1) in memory.points(LEDGER_DURATION)


async def test_what_claims_find_and_what_is_settled_is_counted(memory: MemoryTelemetry, world: WorkerWorld) -> None:
    event_ids, _ = await world.logged_and_pulled(2)
    ledger = ObservedForwardLedger(world.ledger, memory.telemetry)

    await ledger.claim([*event_ids, sample_event().event_id], token="mine", seconds=60)
    await ledger.claim(event_ids, token="another's", seconds=60)
    world.ledger.failures.fail_next("settle_delivered", StorageUnavailableError("no"))
    with pytest.raises(StorageUnavailableError):
        await ledger.settle_delivered(attempts(event_ids))
    await ledger.settle_delivered(attempts(event_ids))

    assert sorted((a["outcome"], n) for a, n in memory.points(CLAIMED)) == [
        ("claimed", 2),
        ("claimed_elsewhere", 2),
        ("missing", 1),
    ]
    assert [(a["state"], n) for a, n in memory.points(SETTLED) if n] == [("DELIVERED", 2)]
    assert ({"operation": "settle", "outcome": "storage_unavailable"}, 1) in memory.points(LEDGER_DURATION)


async def test_the_delay_of_a_delivery_is_counted_from_the_commit_once_whatever_was_tried_before(
    memory: MemoryTelemetry, world: WorkerWorld
) -> None:
    (released, delivered, dead, late), _ = await world.logged_and_pulled(4)
    ledger = ObservedForwardLedger(world.ledger, memory.telemetry, clock=world.clock)
    await ledger.claim([released, delivered, dead, late], token="mine", seconds=600)
    world.clock.advance(40)

    await ledger.release(attempts([released]), token="mine")
    await ledger.settle_dead(attempts([dead]), token="mine")
    world.ledger.failures.fail_next("settle_delivered", StorageUnavailableError("no"))
    with pytest.raises(StorageUnavailableError):
        await ledger.settle_delivered(attempts([delivered]))
    assert memory.points(DELIVERY_DELAY) == []
    await ledger.settle_delivered(attempts([delivered]))
    await ledger.settle_delivered(attempts([delivered, released]))

    assert memory.points(DELIVERY_DELAY) == [({}, 1)]
    assert memory.sums(DELIVERY_DELAY) == [40]
    world.clock.advance(20)
    await ledger.settle_delivered(attempts([late]))
    assert memory.sums(DELIVERY_DELAY) == [100]


@pytest.mark.parametrize("failure", [StorageRejectedError("no such index"), RuntimeError("a bug")])
async def test_a_look_that_fails_in_any_way_does_not_end_the_process(
    memory: MemoryTelemetry, world: WorkerWorld, monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    monkeypatch.setattr("worker.telemetry.states.PENDING_AGE_INTERVAL_SECONDS", 0)
    world.ledger.failures.fail_next("oldest_pending_seconds", failure)
    age = PendingAge(world.ledger, world.clock)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(age.watch_forever, memory.telemetry)
        await eventually(lambda: age.seconds() == 0)
        tasks.cancel_scope.cancel()


async def test_the_oldest_pending_event_grows_older_also_while_spanner_is_silent(world: WorkerWorld) -> None:
    age = PendingAge(world.ledger, world.clock)
    assert age.seconds() is None
    await age.refresh()
    assert age.seconds() == 0

    await world.log()
    world.clock.advance(40)
    await age.refresh()
    assert age.seconds() == 40

    world.ledger.failures.fail_next("oldest_pending_seconds", StorageUnavailableError("no"))
    world.clock.advance(20)
    with pytest.raises(StorageUnavailableError):
        await age.refresh()
    assert age.seconds() == 60
