"""What Settling remembers while Spanner is away, and what it does with it later."""

from collections.abc import Iterator

import anyio
import pytest
import stamina

from shared.errors import StorageUnavailableError
from shared.events.attempt_history import HistoryKind, decode
from shared.events.forward_ledger import DeliveryRecord, ForwardState
from tests.support.eventually import eventually
from tests.support.fakes.settling_records import ANOTHER_CLAIM, CLAIM, HOLDER, ids, tried
from tests.support.fakes.worker_world import WorkerWorld
from worker.attempts import untried

DOWN = StorageUnavailableError("down")
TRIES = 3


@pytest.fixture(autouse=True)
def no_backoff() -> Iterator[None]:
    with stamina.set_testing(True, attempts=TRIES):
        yield


@pytest.fixture
async def world() -> WorkerWorld:
    return WorkerWorld()


async def test_a_confirmation_that_cannot_be_written_is_remembered_until_it_can(world: WorkerWorld) -> None:
    attempts = await tried(world)
    world.ledger.failures.fail_until_mended("settle_delivered", DOWN)
    assert not await world.settling.settle_delivered(attempts, CLAIM)
    assert await world.settling.settle_remembered([*ids(attempts), "other"]) == (set(), {"other"})

    world.ledger.failures.mend()

    assert await world.settling.settle_remembered([*ids(attempts), "other"]) == (ids(attempts), {"other"})
    assert world.states() == [ForwardState.DELIVERED] * 2
    assert await world.settling.settle_remembered(ids(attempts)) == (set(), ids(attempts))


async def test_a_cancelled_settlement_is_remembered(world: WorkerWorld) -> None:
    attempts = await tried(world)
    world.ledger.failures.hold("settle_delivered")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(world.settling.settle_delivered, attempts, CLAIM)
        await eventually(lambda: world.ledger.failures.waiting("settle_delivered"))
        tasks.cancel_scope.cancel()
    world.ledger.failures.mend()

    assert await world.settling.settle_remembered(ids(attempts)) == (ids(attempts), set())


async def test_settling_as_dead_that_cannot_be_written_is_remembered(world: WorkerWorld) -> None:
    attempts = await tried(world)
    world.ledger.failures.fail_next("settle_dead", DOWN, times=TRIES)

    assert await world.settling.settle_dead(attempts, CLAIM) == set()

    assert world.states() == [ForwardState.PENDING] * 2
    known = world.settling.known(ids(attempts))
    assert {event_id: (each.record, each.state) for event_id, each in known.items()} == {
        attempt.event_id: (attempt, ForwardState.DEAD) for attempt in attempts
    }


async def test_a_release_that_fails_is_no_error_and_is_remembered_with_what_was_tried(world: WorkerWorld) -> None:
    (attempt,) = await tried(world, 1)
    world.ledger.failures.fail_next("release", DOWN)

    await world.settling.release([attempt], CLAIM)

    assert world.row(attempt.event_id).claim_token == HOLDER
    known = world.settling.known([attempt.event_id, "other"])
    assert {event_id: (k.record, k.state, k.tokens) for event_id, k in known.items()} == {
        attempt.event_id: (attempt, ForwardState.PENDING, frozenset({HOLDER}))
    }


async def test_of_a_release_that_fails_and_where_nothing_was_sent_only_the_claim_is_remembered(
    world: WorkerWorld,
) -> None:
    (attempt,) = await tried(world, 1)
    world.ledger.failures.fail_next("release", DOWN)

    await world.settling.release(untried([attempt.event_id]), CLAIM)

    (known,) = world.settling.known([attempt.event_id]).values()
    assert (known.record, known.tokens) == (None, frozenset({HOLDER}))


async def test_what_is_remembered_but_not_as_confirmed_is_not_settled_as_delivered(world: WorkerWorld) -> None:
    attempts = await tried(world)
    world.ledger.failures.fail_next("release", DOWN)
    await world.settling.release(attempts, CLAIM)

    assert await world.settling.settle_remembered(ids(attempts)) == (set(), ids(attempts))

    assert world.states() == [ForwardState.PENDING] * 2


async def test_a_claim_that_may_stand_is_one_more_by_which_what_is_known_can_be_resumed(world: WorkerWorld) -> None:
    (attempt,) = await tried(world, 1)
    world.ledger.failures.fail_next("release", DOWN)
    await world.settling.release([attempt], CLAIM)

    await world.settling.give_up_claim([attempt.event_id], ANOTHER_CLAIM)

    (known,) = world.settling.known([attempt.event_id]).values()
    assert (known.record, known.tokens) == (attempt, frozenset({HOLDER, ANOTHER_CLAIM.token}))


async def test_claims_that_may_stand_without_anything_sent_are_all_remembered(world: WorkerWorld) -> None:
    (attempt,) = await tried(world, 1)
    world.ledger.failures.fail_until_mended("release", DOWN)
    await world.settling.release(untried([attempt.event_id]), CLAIM)

    await world.settling.give_up_claim([attempt.event_id], ANOTHER_CLAIM)

    (known,) = world.settling.known([attempt.event_id]).values()
    assert known.tokens == {HOLDER, ANOTHER_CLAIM.token}


async def test_no_more_is_remembered_than_fits_and_the_oldest_is_forgotten(
    world: WorkerWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.settling.MAX_REMEMBERED", 2)  # a record without history counts as one
    first, second = await tried(world, 2), await tried(world, 1)
    world.ledger.failures.fail_until_mended("settle_delivered", DOWN)

    await world.settling.settle_delivered(first, CLAIM)
    await world.settling.settle_delivered(second, CLAIM)
    world.ledger.failures.mend()

    oldest = {first[0].event_id}
    assert await world.settling.settle_remembered(ids(first) | ids(second)) == (
        (ids(first) | ids(second)) - oldest,
        oldest,
    )


async def test_what_is_forgotten_makes_room(world: WorkerWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.settling.MAX_REMEMBERED", 2)
    first, second = await tried(world, 2), await tried(world, 2)
    world.ledger.failures.fail_until_mended("release", DOWN)
    for _ in range(3):  # remembering an outcome again does not count it twice
        await world.settling.release(first, CLAIM)
    assert world.settling.known(ids(first)).keys() == ids(first)
    world.settling.forget([*ids(first), "unknown"])

    await world.settling.release(second, CLAIM)

    assert world.settling.known(ids(first) | ids(second)).keys() == ids(second)


async def test_a_late_confirmation_leaves_the_account_of_whoever_took_over_alone(world: WorkerWorld) -> None:
    (first,) = await tried(world, 1)
    world.ledger.failures.fail_until_mended("settle_delivered", DOWN)
    assert not await world.settling.settle_delivered([first], CLAIM)
    world.ledger.failures.mend()
    world.clock.advance(61)
    (taken,) = (await world.ledger.claim([first.event_id], token="another's", seconds=60)).values()
    second = DeliveryRecord(
        first.event_id, 1, taken.possible_duplicates, world.clock.now(), "http_202", 202, taken.history
    )
    await world.ledger.settle_delivered([second], token="another's", seconds_left=60)

    assert await world.settling.settle_remembered([first.event_id]) == ({first.event_id}, set())

    row = world.row(first.event_id)
    assert (row.state, row.attempts, row.possible_duplicates) == (ForwardState.DELIVERED, 1, 1)
    assert [entry.kind for entry in decode(row.history)] == [HistoryKind.TAKE_OVER]
