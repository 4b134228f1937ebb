"""What Settling writes to the ledger: outcomes with retries, notes and releases in one try."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
import stamina

from shared.errors import StorageUnavailableError
from shared.events.forward_ledger import ForwardState
from tests.support.fakes.scripted_failures import When
from tests.support.fakes.settling_records import CLAIM, HOLDER, ids, tried
from tests.support.fakes.worker_world import WorkerWorld
from worker.settling import LAST_TRY_SECONDS

DOWN = StorageUnavailableError("down")
TRIES = 3


@pytest.fixture(autouse=True)
def no_backoff() -> Iterator[None]:
    with stamina.set_testing(True, attempts=TRIES):
        yield


@pytest.fixture
async def world() -> WorkerWorld:
    return WorkerWorld()


async def test_a_confirmation_is_written_and_not_remembered(world: WorkerWorld) -> None:
    attempts = await tried(world)

    assert await world.settling.settle_delivered(attempts, CLAIM)

    assert world.states() == [ForwardState.DELIVERED] * 2
    assert await world.settling.settle_remembered(ids(attempts)) == (set(), ids(attempts))


@pytest.mark.parametrize("when", When)
async def test_a_settlement_that_fails_is_tried_again(world: WorkerWorld, when: When) -> None:
    attempts = await tried(world)
    world.ledger.failures.fail_next("settle_delivered", DOWN, times=TRIES - 1, when=when)

    assert await world.settling.settle_delivered(attempts, CLAIM)

    assert world.states() == [ForwardState.DELIVERED] * 2
    assert world.ledger.failures.count("settle_delivered") == TRIES


async def test_settling_as_dead_that_fails_is_tried_again(world: WorkerWorld) -> None:
    attempts = await tried(world)
    world.ledger.failures.fail_next("settle_dead", DOWN, times=TRIES - 1)

    assert await world.settling.settle_dead(attempts, CLAIM) == ids(attempts)

    assert world.states() == [ForwardState.DEAD] * 2
    assert world.settling.known(ids(attempts)) == {}


async def test_settling_as_dead_returns_which_were_written(world: WorkerWorld) -> None:
    attempts = await tried(world)
    world.clock.advance(61)
    await world.ledger.claim([attempts[0].event_id], token=HOLDER, seconds=60)

    written = await world.settling.settle_dead(attempts, replace(CLAIM, ends_at=world.clock.monotonic() + 60))

    assert written == {attempts[0].event_id}


async def test_what_is_noted_stays_claimed(world: WorkerWorld) -> None:
    attempts = [replace(attempt, possible_duplicates=1) for attempt in await tried(world)]

    assert await world.settling.note(attempts, CLAIM) == ids(attempts)

    rows = [world.row(event_id) for event_id in ids(attempts)]
    assert [(row.claim_token, row.possible_duplicates) for row in rows] == [(HOLDER, 1)] * 2


async def test_where_noting_fails_nothing_may_be_sent_again(world: WorkerWorld) -> None:
    attempts = await tried(world)
    world.ledger.failures.fail_next("note", DOWN)

    assert await world.settling.note(attempts, CLAIM) == set()

    assert world.ledger.failures.count("note") == 1


async def test_a_release_is_written_and_not_remembered(world: WorkerWorld) -> None:
    attempts = await tried(world)

    await world.settling.release(attempts, CLAIM)

    assert [world.row(event_id).claim_token for event_id in ids(attempts)] == [None, None]
    assert world.settling.known(ids(attempts)) == {}


async def test_a_claim_that_may_stand_and_with_which_nothing_was_sent_is_released(world: WorkerWorld) -> None:
    (event,) = await world.log(1)
    await world.ledger.claim([event.event_id], token=HOLDER, seconds=60)

    await world.settling.give_up_claim([event.event_id], CLAIM)

    assert world.row(event.event_id).claim_token is None
    assert world.settling.known([event.event_id]) == {}


async def test_at_the_end_there_is_one_try(world: WorkerWorld) -> None:
    attempts = await tried(world)
    world.ledger.failures.fail_next("settle_delivered", DOWN)

    await world.settling.settle_at_the_end(attempts, CLAIM)

    assert world.ledger.failures.count("settle_delivered") == 1
    assert world.states() == [ForwardState.PENDING] * 2
    assert await world.settling.settle_remembered(ids(attempts)) == (ids(attempts), set())


async def test_what_is_settled_at_the_end_is_forgotten(world: WorkerWorld) -> None:
    attempts = await tried(world)
    world.ledger.failures.fail_next("settle_delivered", DOWN, times=TRIES)
    await world.settling.settle_delivered(attempts, CLAIM)

    await world.settling.settle_at_the_end(attempts, CLAIM)

    assert world.states() == [ForwardState.DELIVERED] * 2
    assert await world.settling.settle_remembered(ids(attempts)) == (set(), ids(attempts))


@pytest.mark.parametrize("call", ["settle_delivered", "release"])
async def test_a_silent_ledger_is_asked_to_answer_soon_at_the_end(
    world: WorkerWorld, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """The ledger bounds its own calls: cancelling one from outside would leave its effect unknown."""
    attempts = await tried(world)
    real, asked = getattr(world.ledger, call), []

    async def bounded(*args: object, within_seconds: float | None = None, **kwargs: object) -> None:
        asked.append(within_seconds)
        await real(*args, within_seconds=within_seconds, **kwargs)

    monkeypatch.setattr(world.ledger, call, bounded)

    if call == "release":
        await world.settling.release(attempts, CLAIM)
    else:
        await world.settling.settle_at_the_end(attempts, CLAIM)

    assert asked == [LAST_TRY_SECONDS]


async def test_nothing_to_settle_asks_spanner_nothing(world: WorkerWorld) -> None:
    assert await world.settling.settle_delivered([], CLAIM)
    assert await world.settling.settle_dead([], CLAIM) == set()
    await world.settling.settle_at_the_end([], CLAIM)
    await world.settling.release([], CLAIM)
    await world.settling.give_up_claim([], CLAIM)

    assert world.journal == []
