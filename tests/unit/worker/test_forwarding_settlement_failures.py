"""Forwarding when Spanner fails a settlement, or the note that precedes a retry."""

from collections.abc import Iterator

import pytest
import stamina

from shared.errors import StorageUnavailableError
from shared.events.forward_ledger import ForwardState
from tests.support.fakes.forwarding_batches import accounted, forwarded
from tests.support.fakes.scripted_failures import When
from tests.support.fakes.scripted_forwarder import TIMED_OUT
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


async def test_what_is_confirmed_but_not_settled_is_neither_done_nor_released(world: WorkerWorld) -> None:
    (event_id,), messages = await world.logged_and_pulled()
    world.ledger.failures.fail_until_mended("settle_delivered", DOWN)

    assert await forwarded(world, messages) == [Disposition.HOLD]

    row = world.row(event_id)
    assert row.state == ForwardState.PENDING
    assert row.claim_token is not None
    assert "release" not in world.journal


async def test_what_is_confirmed_but_not_settled_is_only_settled_when_it_comes_again(world: WorkerWorld) -> None:
    (event_id,), messages = await world.logged_and_pulled()
    world.ledger.failures.fail_until_mended("settle_delivered", DOWN)
    await forwarded(world, messages)
    # Not nacked: another worker would get the message, and send it again.
    assert await forwarded(world, messages) == [Disposition.HOLD]
    world.ledger.failures.mend()
    world.clock.advance(1000)

    assert await forwarded(world, messages) == [Disposition.ACK]

    assert world.forwarder.taken[event_id] == 1
    assert world.row(event_id).state == ForwardState.DELIVERED
    assert accounted(world, event_id) == (1, 0)


async def test_what_is_settled_in_the_last_try_is_acked(world: WorkerWorld) -> None:
    (event_id,), messages = await world.logged_and_pulled()
    world.ledger.failures.fail_next("settle_delivered", DOWN, times=2)  # all tries but the last one

    assert await forwarded(world, messages) == [Disposition.ACK]

    assert world.row(event_id).state == ForwardState.DELIVERED


async def test_a_settlement_whose_answer_was_lost_is_repeated_and_done(world: WorkerWorld) -> None:
    (event_id,), messages = await world.logged_and_pulled()
    world.ledger.failures.fail_next("settle_delivered", DOWN, when=When.AFTER)

    assert await forwarded(world, messages) == [Disposition.ACK]

    assert world.forwarder.taken[event_id] == 1


async def test_what_cannot_be_noted_is_not_sent_again(world: WorkerWorld) -> None:
    (event_id,), messages = await world.logged_and_pulled()
    world.forwarder.script.append(TIMED_OUT)
    world.ledger.failures.fail_next("note", DOWN)

    assert await forwarded(world, messages) == [Disposition.HOLD]

    assert len(world.forwarder.requests) == 1
    assert accounted(world, event_id) == (1, 1)  # written by the release
    assert await forwarded(world, messages) == [Disposition.ACK]
    assert accounted(world, event_id) == (2, 1)


async def test_a_note_whose_claim_another_has_taken_ends_sending(world: WorkerWorld) -> None:
    (event_id,), messages = await world.logged_and_pulled()
    world.forwarder.script.append(TIMED_OUT)

    def another_worker_takes_over() -> None:
        row = world.row(event_id)
        row.claim_token, row.possible_duplicates = "another's", 7

    world.forwarder.on_send = another_worker_takes_over

    assert await forwarded(world, messages) == [Disposition.HOLD]

    assert len(world.forwarder.requests) == 1
    row = world.row(event_id)
    assert (row.claim_token, row.possible_duplicates) == ("another's", 7)
