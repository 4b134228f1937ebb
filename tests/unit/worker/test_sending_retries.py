"""What bounds retries: the budget, the backoff, Retry-After, the end of the process and of the claim."""

import anyio
import pytest

from tests.support.eventually import eventually
from tests.support.fakes.scripted_forwarder import CONFIRMED, TOO_MANY, UNREACHABLE
from tests.support.fakes.sending_batches import answers_take, attempts_of, batch, delivery_of, send
from tests.support.fakes.worker_world import TickingClock, WorkerWorld
from worker.circuit import MAX_RETRY_AFTER_PAUSE_SECONDS
from worker.sending import LONGEST_BACKOFF_SECONDS
from worker.statsig.outcome import SendOutcome, SendVerdict

RETRY_AFTER_SECONDS = 0.05


@pytest.fixture
async def world() -> WorkerWorld:
    return WorkerWorld()


async def test_trying_ends_when_the_budget_is_spent() -> None:
    world = WorkerWorld(budget_seconds=10)
    world.random.share = 0.001
    world.forwarder.always = UNREACHABLE
    answers_take(world, 6)

    attempts = await send(world, batch(1))

    assert attempts_of(attempts) == [2]
    assert world.circuit.open_reason is None


async def test_a_budget_of_nothing_is_one_attempt() -> None:
    world = WorkerWorld(budget_seconds=0)
    world.random.share = 0.5
    world.forwarder.always = UNREACHABLE

    assert attempts_of(await send(world, batch(1))) == [1]


async def test_the_pause_doubles_to_a_bound_and_is_jittered_from_nothing_up(world: WorkerWorld) -> None:
    world.random.share = 0.0001
    world.forwarder.script.extend([UNREACHABLE] * 7)
    world.forwarder.on_send = lambda: setattr(world.circuit, "_failures", 0)  # keeps the circuit closed

    await send(world, batch(1))

    uppers = [0.5, 1.0, 2.0, 4.0, LONGEST_BACKOFF_SECONDS, LONGEST_BACKOFF_SECONDS, LONGEST_BACKOFF_SECONDS]
    assert world.random.bounds == [(0, upper) for upper in uppers]


async def test_a_confirmation_ends_the_pauses() -> None:
    world = WorkerWorld(clock=TickingClock())
    world.random.share = 0.0001
    world.forwarder.script.extend([UNREACHABLE, UNREACHABLE, CONFIRMED, UNREACHABLE])

    await send(world, batch(4, size=400_000))

    assert world.random.bounds == [(0, 0.5), (0, 1.0), (0, 0.5)]


async def test_retry_after_is_the_least_that_is_waited(world: WorkerWorld) -> None:
    world.random.share = 0.02
    world.forwarder.script.append(SendOutcome(SendVerdict.TRANSIENT, 429, "http_429", RETRY_AFTER_SECONDS))
    started = anyio.current_time()

    attempts = await send(world, batch(1))

    assert attempts.with_verdict(SendVerdict.CONFIRMED) == ["e-0"]
    assert anyio.current_time() - started >= RETRY_AFTER_SECONDS + 0.02 * 0.5


async def test_a_limited_request_among_confirmed_ones_is_tried_whole_after_the_pause_before_it_is_divided(
    world: WorkerWorld,
) -> None:
    limited = SendOutcome(SendVerdict.TRANSIENT, 429, "http_429", RETRY_AFTER_SECONDS)
    world.forwarder.script.extend([limited, limited])
    world.forwarder.on_send = world.circuit.confirmed  # another lane's, during each request
    started = anyio.current_time()

    attempts = await send(world, batch(2))

    assert anyio.current_time() - started >= RETRY_AFTER_SECONDS
    assert world.forwarder.requests == [["e-0", "e-1"], ["e-0", "e-1"], ["e-0"], ["e-1"]]
    assert attempts.with_verdict(SendVerdict.CONFIRMED) == ["e-0", "e-1"]
    assert world.circuit.retry_after_remaining_seconds() == 0, "one event may have drawn it: no pause for other lanes"


async def test_the_pause_after_a_limit_among_confirmed_requests_is_bounded() -> None:
    world = WorkerWorld(budget_seconds=LONGEST_BACKOFF_SECONDS - 1)
    world.forwarder.script.append(SendOutcome(SendVerdict.TRANSIENT, 429, "http_429", 1e9))
    world.forwarder.on_send = world.circuit.confirmed
    delivery = delivery_of(batch(1))

    await world.sending.send(batch(1), delivery)

    assert delivery.paused_until == world.clock.monotonic() + LONGEST_BACKOFF_SECONDS
    assert attempts_of(delivery.attempts) == [1]


async def test_a_retry_after_beyond_the_budget_ends_trying() -> None:
    world = WorkerWorld(budget_seconds=6)
    world.forwarder.script.append(TOO_MANY)

    assert attempts_of(await send(world, batch(1))) == [1]


async def test_an_absurd_retry_after_ends_trying_and_is_bounded(world: WorkerWorld) -> None:
    world.forwarder.script.append(SendOutcome(SendVerdict.TRANSIENT, 429, "http_429", 1e9))

    assert attempts_of(await send(world, batch(1))) == [1]
    assert world.circuit.open_reason is None
    assert world.circuit.retry_after_remaining_seconds() == MAX_RETRY_AFTER_PAUSE_SECONDS


async def test_a_retry_after_holds_for_the_next_batch_too() -> None:
    world = WorkerWorld(budget_seconds=6)
    world.forwarder.script.append(TOO_MANY)
    await send(world, batch(1))

    assert attempts_of(await send(world, batch(1))) == [0]


async def test_stopping_ends_a_pause_at_once_and_begins_no_attempt(world: WorkerWorld) -> None:
    world.random.share = 1.0
    world.forwarder.script.append(SendOutcome(SendVerdict.TRANSIENT, 429, "http_429", 15.0))

    with anyio.fail_after(1):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(send, world, batch(1))
            await eventually(lambda: world.random.bounds)
            world.stopping.set()

    assert len(world.forwarder.requests) == 1


async def test_after_stopping_no_attempt_begins(world: WorkerWorld) -> None:
    world.forwarder.always = UNREACHABLE
    world.forwarder.on_send = world.stopping.set

    assert attempts_of(await send(world, batch(1))) == [1]
    assert attempts_of(await send(world, batch(1))) == [0]


async def test_nothing_is_sent_with_a_claim_that_may_end_before_the_answer(world: WorkerWorld) -> None:
    with anyio.fail_after(1):  # it gives up without waiting: the lane has other work
        attempts = await send(world, batch(1), deadline=world.clock.monotonic() + 19.9)

    assert world.forwarder.requests == []
    (noted,) = attempts.records(["e-0"])
    assert (noted.attempts, noted.last_attempt_at, noted.reason) == (0, None, "not_sent")


async def test_no_retry_begins_when_the_claim_leaves_no_room_for_it() -> None:
    world = WorkerWorld(budget_seconds=300)
    world.forwarder.always = UNREACHABLE
    answers_take(world, 10)

    with anyio.fail_after(1):
        attempts = await send(world, batch(1), deadline=world.clock.monotonic() + 25)

    assert attempts_of(attempts) == [1]
