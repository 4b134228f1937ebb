"""Settling through a Spanner that fails: tried again, remembered, never in the way of the process's end."""

from collections.abc import Iterator

import anyio
import pytest
import stamina

from shared.attempt_history import HistoryKind, decode
from shared.errors import StorageUnavailableError
from shared.forward_ledger import Attempt, ForwardState
from tests.support.eventually import eventually
from tests.support.manual_clock import ManualClock
from tests.support.scripted_failures import When
from tests.support.worker_world import WorkerWorld
from worker.settling import Claim

DOWN = StorageUnavailableError("down")
TRIES = 3
HOLDER = "ours"


CLAIM = Claim(HOLDER, ends_at=ManualClock().monotonic() + 60)


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

    assert await world.settling.settle_delivered(attempts, CLAIM)

    assert world.states() == [ForwardState.DELIVERED] * 2
    assert await world.settling.settle_remembered(ids(attempts)) == (set(), ids(attempts))


@pytest.mark.parametrize("when", When)
async def test_a_settlement_that_fails_is_tried_again(world: WorkerWorld, when: When) -> None:
    attempts = await confirmed(world)
    world.ledger.failures.fail_next("settle_delivered", DOWN, times=TRIES - 1, when=when)

    assert await world.settling.settle_delivered(attempts, CLAIM)

    assert world.states() == [ForwardState.DELIVERED] * 2
    assert world.ledger.failures.count("settle_delivered") == TRIES


async def test_a_confirmation_that_cannot_be_written_is_remembered_until_it_can(world: WorkerWorld) -> None:
    attempts = await confirmed(world)
    world.ledger.failures.fail_until_mended("settle_delivered", DOWN)
    assert not await world.settling.settle_delivered(attempts, CLAIM)
    assert await world.settling.settle_remembered([*ids(attempts), "other"]) == (set(), {"other"})

    world.ledger.failures.mend()

    assert await world.settling.settle_remembered([*ids(attempts), "other"]) == (ids(attempts), {"other"})
    assert world.states() == [ForwardState.DELIVERED] * 2
    assert await world.settling.settle_remembered(ids(attempts)) == (set(), ids(attempts))


async def test_a_cancelled_settlement_is_remembered(world: WorkerWorld) -> None:
    attempts = await confirmed(world)
    world.ledger.failures.hold("settle_delivered")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(world.settling.settle_delivered, attempts, CLAIM)
        await eventually(lambda: world.ledger.failures.waiting("settle_delivered"))
        tasks.cancel_scope.cancel()
    world.ledger.failures.mend()

    assert await world.settling.settle_remembered(ids(attempts)) == (ids(attempts), set())


async def test_no_more_is_remembered_than_fits(world: WorkerWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.settling.MAX_REMEMBERED", 2)  # each is one, with nothing in its history
    first, second = await confirmed(world, 2), await confirmed(world, 1)
    world.ledger.failures.fail_until_mended("settle_delivered", DOWN)

    await world.settling.settle_delivered(first, CLAIM)
    await world.settling.settle_delivered(second, CLAIM)
    world.ledger.failures.mend()

    assert await world.settling.settle_remembered(ids(first) | ids(second)) == (ids(first), ids(second))


async def test_at_the_end_there_is_one_try(world: WorkerWorld) -> None:
    attempts = await confirmed(world)
    world.ledger.failures.fail_next("settle_delivered", DOWN)

    await world.settling.settle_at_the_end(attempts, CLAIM)

    assert world.ledger.failures.count("settle_delivered") == 1
    assert world.states() == [ForwardState.PENDING] * 2


async def test_what_is_settled_at_the_end_is_forgotten(world: WorkerWorld) -> None:
    attempts = await confirmed(world)
    world.ledger.failures.fail_next("settle_delivered", DOWN, times=TRIES)
    await world.settling.settle_delivered(attempts, CLAIM)

    await world.settling.settle_at_the_end(attempts, CLAIM)

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
            await world.settling.settle_at_the_end(attempts, CLAIM)

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

    assert await world.settling.settle_dead(attempts, token=HOLDER) == ids(attempts)

    assert world.states() == [ForwardState.DEAD] * 2


async def test_nothing_to_settle_asks_spanner_nothing(world: WorkerWorld) -> None:
    assert await world.settling.settle_delivered([], CLAIM)
    await world.settling.settle_at_the_end([], CLAIM)
    await world.settling.release([], token=HOLDER)

    assert world.journal == []


async def test_a_late_confirmation_leaves_the_account_of_whoever_took_over_alone(world: WorkerWorld) -> None:
    (first,) = await confirmed(world, 1)
    world.ledger.failures.fail_until_mended("settle_delivered", DOWN)
    assert not await world.settling.settle_delivered([first], CLAIM)
    world.ledger.failures.mend()
    world.clock.advance(61)
    (taken,) = (await world.ledger.claim([first.event_id], token="another's", seconds=60)).values()
    second = Attempt(first.event_id, 1, taken.possible_duplicates, world.clock.now(), "http_202", 202, taken.history)
    await world.ledger.settle_delivered([second], token="another's", seconds_left=60)

    assert await world.settling.settle_remembered([first.event_id]) == ({first.event_id}, set())

    row = world.row(first.event_id)
    assert (row.state, row.attempts, row.possible_duplicates) == (ForwardState.DELIVERED, 1, 1)
    assert [entry.kind for entry in decode(row.history)] == [HistoryKind.TAKE_OVER]
