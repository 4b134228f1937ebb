"""Settling through a Spanner that fails: tried again, remembered, never in the way of the process's end."""

from collections.abc import Iterator

import anyio
import pytest
import stamina

from shared.errors import StorageUnavailableError
from shared.forward_ledger import Attempt, ForwardState
from tests.support.eventually import eventually
from tests.support.scripted_failures import When
from tests.support.worker_world import WorkerWorld

DOWN = StorageUnavailableError("down")
TRIES = 3
HOLDER = "ours"


@pytest.fixture(autouse=True)
def no_backoff() -> Iterator[None]:
    with stamina.set_testing(True, attempts=TRIES):
        yield


@pytest.fixture
async def world() -> WorkerWorld:
    return WorkerWorld()


async def confirmed(world: WorkerWorld, count: int = 2) -> list[Attempt]:
    """Attempts on events that the ledger has as pending and claimed."""
    event_ids = [event.event_id for event in await world.log(count)]
    await world.ledger.claim(event_ids, token=HOLDER, seconds=60)
    return [Attempt(event_id, 1, 0, world.clock.now(), "http_202", 202, ()) for event_id in event_ids]


def ids(attempts: list[Attempt]) -> set[str]:
    return {attempt.event_id for attempt in attempts}


async def test_a_confirmation_is_written_and_not_remembered(world: WorkerWorld) -> None:
    attempts = await confirmed(world)

    assert await world.settling.settle_delivered(attempts)

    assert world.states() == [ForwardState.DELIVERED] * 2
    assert await world.settling.settle_remembered(ids(attempts)) == (set(), ids(attempts))


@pytest.mark.parametrize("when", When)
async def test_a_settlement_that_fails_is_tried_again(world: WorkerWorld, when: When) -> None:
    attempts = await confirmed(world)
    world.ledger.failures.fail_next("settle_delivered", DOWN, times=TRIES - 1, when=when)

    assert await world.settling.settle_delivered(attempts)

    assert world.states() == [ForwardState.DELIVERED] * 2
    assert world.ledger.failures.count("settle_delivered") == TRIES


async def test_a_confirmation_that_cannot_be_written_is_remembered_until_it_can(world: WorkerWorld) -> None:
    attempts = await confirmed(world)
    world.ledger.failures.fail_until_mended("settle_delivered", DOWN)
    assert not await world.settling.settle_delivered(attempts)
    assert await world.settling.settle_remembered([*ids(attempts), "other"]) == (set(), {"other"})

    world.ledger.failures.mend()

    assert await world.settling.settle_remembered([*ids(attempts), "other"]) == (ids(attempts), {"other"})
    assert world.states() == [ForwardState.DELIVERED] * 2
    assert await world.settling.settle_remembered(ids(attempts)) == (set(), ids(attempts))


async def test_a_cancelled_settlement_is_remembered(world: WorkerWorld) -> None:
    attempts = await confirmed(world)
    world.ledger.failures.hold("settle_delivered")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(world.settling.settle_delivered, attempts)
        await eventually(lambda: world.ledger.failures.waiting("settle_delivered"))
        tasks.cancel_scope.cancel()
    world.ledger.failures.mend()

    assert await world.settling.settle_remembered(ids(attempts)) == (ids(attempts), set())


async def test_no_more_is_remembered_than_fits(world: WorkerWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.settling.MAX_REMEMBERED", 2)
    first, second = await confirmed(world, 2), await confirmed(world, 1)
    world.ledger.failures.fail_until_mended("settle_delivered", DOWN)

    await world.settling.settle_delivered(first)
    await world.settling.settle_delivered(second)
    world.ledger.failures.mend()

    assert await world.settling.settle_remembered(ids(first) | ids(second)) == (ids(first), ids(second))


async def test_at_the_end_there_is_one_try(world: WorkerWorld) -> None:
    attempts = await confirmed(world)
    world.ledger.failures.fail_next("settle_delivered", DOWN)

    await world.settling.settle_at_the_end(attempts)

    assert world.ledger.failures.count("settle_delivered") == 1
    assert world.states() == [ForwardState.PENDING] * 2


async def test_what_is_settled_at_the_end_is_forgotten(world: WorkerWorld) -> None:
    attempts = await confirmed(world)
    world.ledger.failures.fail_next("settle_delivered", DOWN, times=TRIES)
    await world.settling.settle_delivered(attempts)

    await world.settling.settle_at_the_end(attempts)

    assert world.states() == [ForwardState.DELIVERED] * 2
    assert await world.settling.settle_remembered(ids(attempts)) == (set(), ids(attempts))


@pytest.mark.parametrize("call", ["settle_delivered", "release"])
async def test_a_silent_ledger_does_not_hold_up_the_end(
    world: WorkerWorld, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    monkeypatch.setattr("worker.settling.LAST_TRY_SECONDS", 0.01)
    attempts = await confirmed(world)
    world.ledger.failures.hold(call)

    with anyio.fail_after(1):
        if call == "release":
            await world.settling.release(attempts, token=HOLDER)
        else:
            await world.settling.settle_at_the_end(attempts)

    assert world.states() == [ForwardState.PENDING] * 2


async def test_a_release_that_fails_is_no_error(world: WorkerWorld) -> None:
    attempts = await confirmed(world)
    world.ledger.failures.fail_next("release", DOWN)

    await world.settling.release(attempts, token=HOLDER)

    assert world.row(attempts[0].event_id).claim_token == HOLDER


async def test_a_burial_that_fails_is_said(world: WorkerWorld) -> None:
    attempts = await confirmed(world)
    world.ledger.failures.fail_next("settle_dead", DOWN)
    assert not await world.settling.settle_dead(attempts, token=HOLDER)

    assert await world.settling.settle_dead(attempts, token=HOLDER)

    assert world.states() == [ForwardState.DEAD] * 2


async def test_nothing_to_settle_asks_spanner_nothing(world: WorkerWorld) -> None:
    assert await world.settling.settle_delivered([])
    await world.settling.settle_at_the_end([])
    await world.settling.release([], token=HOLDER)

    assert world.journal == []
