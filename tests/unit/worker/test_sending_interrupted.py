"""Sending that is cut short: it is cancelled, or its claim ends during a search."""

from collections.abc import Sequence

import anyio
import pytest

from shared.events.statsig_projection import StatsigEvent
from tests.support.eventually import eventually
from tests.support.fakes.scripted_forwarder import UNAVAILABLE
from tests.support.fakes.sending_batches import answers_take, batch, delivery_of
from tests.support.fakes.worker_world import ATTEMPT_SECONDS, WorkerWorld
from worker.attempts import BatchAttempts
from worker.statsig.outcome import SendVerdict


async def cancelled_in_request(world: WorkerWorld, events: Sequence[StatsigEvent], number: int) -> BatchAttempts:
    delivery = delivery_of(events)

    def hold_that_one() -> None:
        if len(world.forwarder.requests) == number:
            world.forwarder.failures.hold("send")

    world.forwarder.on_send = hold_that_one
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(world.sending.send, events, delivery)
        await eventually(lambda: world.forwarder.failures.waiting("send"))
        tasks.cancel_scope.cancel()
    return delivery.attempts


@pytest.fixture
async def world() -> WorkerWorld:
    return WorkerWorld()


async def test_a_cancelled_attempt_is_noted_as_a_possible_duplicate(world: WorkerWorld) -> None:
    attempts = await cancelled_in_request(world, batch(2), 1)

    for noted in attempts.records(["e-0", "e-1"]):
        assert (noted.attempts, noted.possible_duplicates, noted.reason) == (1, 1, "interrupted")
        assert noted.last_attempt_at == world.clock.now()
        assert [(entry.at, entry.verdict, entry.reason) for entry in noted.history] == [
            (world.clock.now(), "ambiguous", "interrupted")
        ]
    assert attempts.with_verdict(SendVerdict.CONFIRMED) == []


async def test_a_cancelled_attempt_is_counted_beside_those_before_it(world: WorkerWorld) -> None:
    world.forwarder.script.append(UNAVAILABLE)

    attempts = await cancelled_in_request(world, batch(1), 2)

    (noted,) = attempts.records(["e-0"])
    assert (noted.attempts, noted.possible_duplicates) == (2, 2)
    assert [entry.reason for entry in noted.history] == ["http_503", "interrupted"]


async def test_what_was_confirmed_before_a_search_was_cancelled_stays_confirmed(world: WorkerWorld) -> None:
    """Its outcome is known: sending it again would only make a duplicate."""
    world.forwarder.spoilers = {"e-3"}

    attempts = await cancelled_in_request(world, batch(4), 4)

    assert world.forwarder.requests == [["e-0", "e-1", "e-2", "e-3"], ["e-0"], ["e-1"], ["e-2"], ["e-3"]]
    assert attempts.with_verdict(SendVerdict.CONFIRMED) == ["e-0"]
    # The others were in flight together when it was cancelled.
    assert [noted.possible_duplicates for noted in attempts.records(["e-0", "e-1", "e-2", "e-3"])] == [0, 1, 1, 1]


async def test_looking_for_spoilers_ends_with_the_claim(world: WorkerWorld) -> None:
    """Each part is one more request. If slow answers made a search outlast its claim, another worker would send too."""
    events = batch(64)
    world.forwarder.spoilers = {"e-0", "e-20", "e-40", "e-60"}
    began = answers_take(world, ATTEMPT_SECONDS / 2)
    deadline = world.clock.monotonic() + 80
    delivery = delivery_of(events, deadline=deadline)

    await world.sending.send(events, delivery)

    assert len(began) > 1
    assert max(began) + ATTEMPT_SECONDS <= deadline
    assert len(delivery.attempts.with_verdict(SendVerdict.CONFIRMED)) < 60
