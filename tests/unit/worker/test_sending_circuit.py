"""Sending and the circuit breaker: failures that open it, probes, and trials of suspects."""

import pytest

from tests.support.fakes.scripted_forwarder import REJECTED, SERVER_ERROR, TIMED_OUT, UNAVAILABLE
from tests.support.fakes.sending_batches import FAILURES, answers_take, attempts_of, batch, send
from tests.support.fakes.worker_world import TickingClock, WorkerWorld
from worker.circuit import FAILURES_TO_OPEN, REJECTIONS_TO_OPEN, SILENCE_SECONDS
from worker.statsig.outcome import SendOutcome


@pytest.fixture
async def world() -> WorkerWorld:
    return WorkerWorld()


@pytest.mark.parametrize("answer", FAILURES, ids=lambda answer: answer.reason)
async def test_three_failures_open_the_circuit_and_end_trying(world: WorkerWorld, answer: SendOutcome) -> None:
    world.forwarder.always = answer

    attempts = await send(world, batch(1))

    assert world.circuit.open_reason == answer.reason
    assert attempts_of(attempts) == [FAILURES_TO_OPEN]
    assert attempts.with_verdict(answer.verdict) == ["e-0"]


async def test_of_several_requests_the_later_ones_are_held_back_when_the_circuit_opens(world: WorkerWorld) -> None:
    world.circuit.failed("http_503")
    world.circuit.failed("http_503")
    world.forwarder.always = UNAVAILABLE

    attempts = await send(world, batch(4, size=400_000))

    assert world.forwarder.requests == [["e-0", "e-1"]]
    assert attempts_of(attempts) == [1, 1, 0, 0]


async def test_rejections_of_everything_end_the_search_and_open_the_circuit(world: WorkerWorld) -> None:
    world.forwarder.always = REJECTED

    attempts = await send(world, batch(200))

    assert len(world.forwarder.requests) == REJECTIONS_TO_OPEN
    assert sum(event.failed_alone_at is not None for event in attempts.of.values()) < REJECTIONS_TO_OPEN
    assert world.circuit.open_reason == "http_400"
    assert sum(world.forwarder.taken.values()) == 0


async def test_a_poisoned_event_that_is_alone_with_statsig_opens_the_circuit() -> None:
    """While nothing else is confirmed, the fault may be Statsig's. A confirmed event closes the circuit again."""
    world = WorkerWorld(clock=TickingClock())
    world.circuit.confirmed()
    world.forwarder.always = SERVER_ERROR
    began = answers_take(world, 0.5)

    await send(world, batch(1))

    assert world.circuit.open_reason == "http_500"
    assert began[-1] - began[0] < SILENCE_SECONDS + 1


@pytest.mark.parametrize("answer", [*FAILURES, REJECTED], ids=lambda answer: answer.reason)
async def test_a_probe_is_one_attempt(world: WorkerWorld, answer: SendOutcome) -> None:
    world.open_circuit()
    world.forwarder.always = answer

    await send(world, batch(1))

    assert len(world.forwarder.requests) == 1
    assert world.circuit.open_reason is not None


async def test_a_confirmed_probe_closes_the_circuit(world: WorkerWorld) -> None:
    world.open_circuit()

    await send(world, batch(1))

    assert world.circuit.open_reason is None


@pytest.mark.parametrize("answer", [*FAILURES, REJECTED], ids=lambda answer: answer.reason)
async def test_a_trial_is_one_attempt_and_its_failure_says_nothing_of_statsig(
    world: WorkerWorld, answer: SendOutcome
) -> None:
    world.forwarder.always = answer

    for _ in range(REJECTIONS_TO_OPEN):
        assert attempts_of(await send(world, batch(1), is_trial=True)) == [1]

    assert world.circuit.open_reason is None
    assert world.circuit.retry_after_remaining_seconds() == 0


async def test_a_trial_that_is_the_probe_is_told_to_the_circuit(world: WorkerWorld) -> None:
    world.open_circuit()
    world.clock.advance(1)
    admission = await world.circuit.admit()
    world.forwarder.always = TIMED_OUT
    await send(world, batch(1), is_trial=True)
    assert world.circuit.open_reason == "timeout"
    world.circuit.leave(admission)
    world.forwarder.always = None

    await send(world, batch(1), is_trial=True)

    assert world.circuit.open_reason is None
