"""Sending a batch: its requests, the outcome of each event, and what is sent again."""

import pytest

from tests.support.fakes.scripted_forwarder import CONFIRMED, REJECTED, SERVER_ERROR, UNAVAILABLE, UNREACHABLE
from tests.support.fakes.sending_batches import (
    FAILURES,
    RecordingLedger,
    answers_take,
    attempts_of,
    batch,
    possible_duplicates,
    send,
)
from tests.support.fakes.worker_world import TickingClock, WorkerWorld
from worker.poison import Suspicion
from worker.sending import RECENT_CONFIRMATION_SECONDS
from worker.statsig.outcome import SendOutcome, SendVerdict
from worker.statsig.requests import MAX_EVENTS


@pytest.fixture
async def world() -> WorkerWorld:
    return WorkerWorld()


async def test_what_is_confirmed_was_sent_once(world: WorkerWorld) -> None:
    ledger = RecordingLedger()

    attempts = await send(world, batch(), ledger=ledger)

    assert attempts.with_verdict(SendVerdict.CONFIRMED) == ["e-0", "e-1", "e-2"]
    assert attempts_of(attempts) == [1, 1, 1]
    assert possible_duplicates(attempts) == [0, 0, 0]
    assert world.forwarder.requests == [["e-0", "e-1", "e-2"]]
    assert (ledger.noted, ledger.confirmed) == ([], [["e-0", "e-1", "e-2"]])
    (first, *_) = attempts.records(["e-0"])
    assert (first.reason, first.status, first.last_attempt_at) == ("http_202", 202, world.clock.now())


async def test_nothing_is_sent_for_nothing(world: WorkerWorld) -> None:
    await send(world, [])

    assert world.forwarder.requests == []


async def test_large_events_go_in_requests_of_a_megabyte(world: WorkerWorld) -> None:
    await send(world, batch(4, size=400_000))

    assert world.forwarder.requests == [["e-0", "e-1"], ["e-2", "e-3"]]


@pytest.mark.parametrize("answer", FAILURES, ids=lambda answer: answer.reason)
async def test_what_may_pass_is_tried_again(world: WorkerWorld, answer: SendOutcome) -> None:
    world.forwarder.script.extend([answer, answer])

    attempts = await send(world, batch(1))

    assert attempts.with_verdict(SendVerdict.CONFIRMED) == ["e-0"]
    assert attempts_of(attempts) == [3]
    assert possible_duplicates(attempts) == [world.forwarder.taken["e-0"] - 1]


async def test_a_request_without_a_connection_is_tried_again_whole(world: WorkerWorld) -> None:
    world.forwarder.script.extend([UNREACHABLE, UNREACHABLE])

    attempts = await send(world, batch(3))

    assert world.forwarder.requests == [["e-0", "e-1", "e-2"]] * 3
    assert attempts.with_verdict(SendVerdict.CONFIRMED) == ["e-0", "e-1", "e-2"]
    assert world.size.events == MAX_EVENTS


async def test_of_several_requests_only_what_failed_is_tried_again(world: WorkerWorld) -> None:
    world.forwarder.script.extend([CONFIRMED, UNREACHABLE])

    attempts = await send(world, batch(4, size=400_000))

    assert world.forwarder.requests == [["e-0", "e-1"], ["e-2", "e-3"], ["e-2", "e-3"]]
    assert attempts_of(attempts) == [1, 1, 2, 2]
    assert max(world.forwarder.taken.values()) == 1


async def test_after_a_failure_requests_are_smaller_and_grow_with_each_that_is_confirmed(world: WorkerWorld) -> None:
    world.forwarder.script.append(UNAVAILABLE)
    await send(world, batch(80))
    assert [len(request) for request in world.forwarder.requests] == [80, *[10] * 8]
    assert world.size.events > 10
    world.size.events = 10
    world.forwarder.requests.clear()

    await send(world, batch(80))

    assert [len(request) for request in world.forwarder.requests] == [10] * 8  # together, since others are confirmed
    assert world.size.events == 20
    world.size.events = 10
    world.forwarder.requests.clear()
    world.clock.advance(RECENT_CONFIRMATION_SECONDS + 0.1)

    await send(world, batch(80))

    assert [len(request) for request in world.forwarder.requests] == [10, 20, 20, 20, 10]


async def test_what_is_rejected_alone_is_not_tried_again_even_where_nothing_is_confirmed(world: WorkerWorld) -> None:
    world.forwarder.always = REJECTED

    assert attempts_of(await send(world, batch(1))) == [1]


async def test_what_fails_alone_while_others_are_confirmed_is_left_to_the_judge() -> None:
    world = WorkerWorld(clock=TickingClock())
    world.forwarder.spoilers, world.forwarder.spoiling = {"e-0"}, SERVER_ERROR

    attempts = await send(world, batch(3))

    assert world.forwarder.requests == [["e-0", "e-1", "e-2"], ["e-0"], ["e-1"], ["e-2"]]
    assert attempts.of["e-0"].failed_alone_at is not None


async def test_what_fails_alone_while_nothing_is_confirmed_is_tried_again() -> None:
    world = WorkerWorld(clock=TickingClock())
    world.forwarder.spoilers, world.forwarder.spoiling = {"e-0"}, SERVER_ERROR
    world.circuit.confirmed()  # before the first request began, and never again
    answers_take(world, 0.1)

    attempts = await send(world, batch(1))

    assert len(world.forwarder.requests) > 2
    assert attempts.of["e-0"].failed_alone_at is not None


async def test_what_fails_last_of_its_batch_is_not_tried_again_since_its_neighbours_were_confirmed() -> None:
    world = WorkerWorld(clock=TickingClock())
    world.forwarder.spoilers, world.forwarder.spoiling = {"e-2"}, SERVER_ERROR

    attempts = await send(world, batch(3))

    assert world.forwarder.requests == [["e-0", "e-1", "e-2"], ["e-0"], ["e-1"], ["e-2"]]
    assert world.poison.judge(attempts.of["e-2"]) is Suspicion.SUSPECT


async def test_what_fails_alone_is_tried_again_only_until_another_lane_has_something_confirmed(
    world: WorkerWorld,
) -> None:
    world.forwarder.always = SERVER_ERROR

    def another_lane_is_lucky() -> None:
        world.clock.advance(0.1)
        if len(world.forwarder.requests) == 2:
            world.circuit.confirmed()

    world.forwarder.on_send = another_lane_is_lucky

    await send(world, batch(1))

    assert world.forwarder.requests == [["e-0"]] * 2
    assert world.circuit.open_reason is None
