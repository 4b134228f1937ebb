"""Forwarding when Spanner fails a claim, or the answer to the claim is lost."""

from collections.abc import Iterator

import pytest
import stamina

from shared.errors import StorageUnavailableError
from shared.events.attempt_history import HistoryKind
from tests.support.fakes.forwarding_batches import accounted, forwarded, kinds
from tests.support.fakes.scripted_failures import When
from tests.support.fakes.worker_world import WorkerWorld
from worker.disposition import Disposition

DOWN = StorageUnavailableError("down")


@pytest.fixture(autouse=True)
def no_backoff() -> Iterator[None]:
    with stamina.set_testing(True, attempts=2):
        yield


@pytest.fixture
async def world() -> WorkerWorld:
    return WorkerWorld()


async def test_without_a_claim_nothing_is_sent_and_messages_are_held(world: WorkerWorld) -> None:
    _, messages = await world.logged_and_pulled(2)
    world.ledger.failures.fail_next("claim", DOWN)

    assert await forwarded(world, messages) == [Disposition.HOLD] * 2

    assert world.forwarder.requests == []
    assert world.circuit.open_reason is None


async def test_claims_that_keep_failing_do_not_open_the_circuit(world: WorkerWorld) -> None:
    """The circuit breaker is about Statsig, not about Spanner."""
    _, messages = await world.logged_and_pulled()
    world.ledger.failures.fail_next("claim", DOWN, times=20)

    assert [await forwarded(world, messages) for _ in range(20)] == [[Disposition.HOLD]] * 20

    assert world.circuit.open_reason is None
    assert await forwarded(world, messages) == [Disposition.ACK]


async def test_a_claim_whose_answer_was_lost_is_released_and_keeps_nobody_away(world: WorkerWorld) -> None:
    (event_id,), messages = await world.logged_and_pulled()
    world.ledger.failures.fail_next("claim", DOWN, when=When.AFTER)
    assert await forwarded(world, messages) == [Disposition.HOLD]
    assert world.row(event_id).claim_token is None

    assert await forwarded(world, messages) == [Disposition.ACK]
    assert accounted(world, event_id) == (1, 0)


async def test_a_claim_that_can_be_neither_heard_of_nor_released_is_resumed_by_the_same_process(
    world: WorkerWorld,
) -> None:
    (event_id,), messages = await world.logged_and_pulled()
    world.ledger.failures.fail_next("claim", DOWN, when=When.AFTER)
    world.ledger.failures.fail_next("release", DOWN)
    assert await forwarded(world, messages) == [Disposition.HOLD]

    assert await forwarded(world, messages) == [Disposition.ACK]

    assert accounted(world, event_id) == (1, 0)
    assert kinds(world, event_id) == [HistoryKind.ATTEMPT]


async def test_a_claim_that_can_be_neither_heard_of_nor_released_keeps_others_away_until_it_expires(
    world: WorkerWorld,
) -> None:
    (event_id,), messages = await world.logged_and_pulled()
    world.ledger.failures.fail_next("claim", DOWN, when=When.AFTER)
    world.ledger.failures.fail_next("release", DOWN)
    assert await forwarded(world, messages) == [Disposition.HOLD]
    world.start_process()

    assert await forwarded(world, messages) == [Disposition.NACK]
    world.clock.advance(91)
    assert await forwarded(world, messages) == [Disposition.ACK]

    assert world.forwarder.taken[event_id] == 1
    assert accounted(world, event_id) == (1, 1)  # the other process must assume that it was sent


@pytest.mark.parametrize("second", When)
async def test_of_several_claims_that_cannot_be_heard_of_whichever_stands_is_resumed(
    world: WorkerWorld, second: When
) -> None:
    """Nothing was sent under either claim."""
    (event_id,), messages = await world.logged_and_pulled()
    world.ledger.failures.fail_next("claim", DOWN, when=When.AFTER)
    world.ledger.failures.fail_next("release", DOWN)
    assert await forwarded(world, messages) == [Disposition.HOLD]
    world.ledger.failures.fail_next("claim", DOWN, when=second)
    world.ledger.failures.fail_next("release", DOWN)
    assert await forwarded(world, messages) == [Disposition.HOLD]

    assert await forwarded(world, messages) == [Disposition.ACK]

    assert accounted(world, event_id) == (1, 0)


async def test_a_claim_that_was_never_made_does_not_make_forget_one_that_stands(world: WorkerWorld) -> None:
    (event_id,), messages = await world.logged_and_pulled()
    world.ledger.failures.fail_next("claim", DOWN, when=When.AFTER)
    world.ledger.failures.fail_next("release", DOWN)
    assert await forwarded(world, messages) == [Disposition.HOLD]
    world.ledger.failures.fail_next("claim", DOWN)  # its release succeeds, and has nothing to release

    assert await forwarded(world, messages) == [Disposition.HOLD]
    assert await forwarded(world, messages) == [Disposition.ACK]

    assert accounted(world, event_id) == (1, 0)
