"""Prefetching while the circuit is open, and when pulls fail."""

import anyio
import pytest

from shared.errors import SubscriptionUnavailableError
from shared.events.forward_ledger import ForwardState
from tests.support.eventually import eventually
from tests.support.fakes.running_worker import pulling
from tests.support.fakes.scripted_forwarder import UNAVAILABLE
from tests.support.fakes.worker_world import PROBE_SECONDS, TickingClock, WorkerWorld

pytestmark = pytest.mark.usefixtures("short_takes")

DOWN = SubscriptionUnavailableError("down")


def world_of(pulls: int = 2, pull_messages: int = 500, prefetch_messages: int = 500) -> WorkerWorld:
    return WorkerWorld(
        pulls=pulls, pull_messages=pull_messages, prefetch_messages=prefetch_messages, clock=TickingClock()
    )


async def test_what_waits_when_the_circuit_opens_is_held_and_tried_again_when_it_closes() -> None:
    world = world_of(pull_messages=5, prefetch_messages=100)
    world.forwarder.always = UNAVAILABLE
    await world.log(40)

    async with world.running(lanes=2, batch_messages=5):
        await eventually(lambda: world.circuit.open_reason)
        await world.time_passes_until(lambda: len(world.held_messages) >= 38, step_seconds=10 * PROBE_SECONDS)
        assert len(world.prefetcher) == 0
        assert set(world.subscription.backlog.values()) == {1}
        world.forwarder.always = None
        await world.time_passes_until(lambda: not world.subscription.backlog, step_seconds=10 * PROBE_SECONDS)

    assert world.states() == [ForwardState.DELIVERED] * 40
    assert world.subscription.failures.count("nack") == 0


async def test_while_the_circuit_is_open_only_probes_pull() -> None:
    world = world_of(pulls=4)
    world.open_circuit()
    await world.log(3)

    async with pulling(world):
        await anyio.wait_all_tasks_blocked()
        assert world.subscription.failures.count("pull") == 0
        world.circuit.confirmed()
        await eventually(lambda: len(world.prefetcher) == 3)


async def test_a_pull_that_was_outstanding_when_the_circuit_opened_serves_the_probes() -> None:
    """It takes what a probe's own pull would have brought."""
    world = world_of(pulls=1)

    async with world.running():
        await anyio.wait_all_tasks_blocked()
        world.open_circuit()
        (event,) = await world.log(1)
        await world.time_passes_until(
            lambda: world.row(event.event_id).state == ForwardState.DELIVERED, step_seconds=PROBE_SECONDS
        )

    assert world.circuit.open_reason is None


async def test_lanes_that_wait_for_messages_with_all_turns_look_at_what_is_held() -> None:
    world = world_of()
    messages = [message for _ in range(4) for message in (await world.logged_and_pulled(1))[1]]
    world.leases.add(messages)
    gate = world.forwarder.failures.hold("send")

    async with world.running(lanes=2, batch_messages=1):
        await anyio.wait_all_tasks_blocked()
        world.held_messages.add(messages)
        await eventually(lambda: world.forwarder.failures.waiting("send") == 2)
        gate.set()
        await eventually(lambda: not world.subscription.backlog)


async def test_lanes_that_wait_for_messages_with_all_turns_notice_that_the_circuit_opened() -> None:
    """As where a lane that has lent its turn opens it: nobody else could probe."""
    world = world_of()
    (_, messages) = await world.logged_and_pulled(4)
    world.leases.add(messages)

    async with world.running(lanes=2):
        await anyio.wait_all_tasks_blocked()
        world.open_circuit()
        world.held_messages.add(messages)
        await world.time_passes_until(lambda: not world.subscription.backlog, step_seconds=PROBE_SECONDS)

    assert len(world.forwarder.requests[0]) == 1


async def test_pulls_that_fail_pause_and_go_on() -> None:
    world = world_of(pulls=2)
    await world.log(1)
    world.subscription.failures.fail_next("pull", DOWN, times=10)

    async with pulling(world):
        await eventually(lambda: len(world.prefetcher) == 1)

    assert world.subscription.failures.count("pull") > 10


async def test_after_a_failure_one_pull_at_a_time_tries_and_all_go_on_once_it_succeeds() -> None:
    world = world_of(pulls=4)
    failures = world.subscription.failures
    failures.fail_next("pull", DOWN, times=4)
    first_four = failures.hold("pull")

    async with pulling(world):
        await eventually(lambda: failures.waiting("pull") == 4)
        first_four.set()
        failures.hold("pull")
        await eventually(lambda: failures.count("pull") == 4)
        await eventually(lambda: failures.waiting("pull"))
        await anyio.wait_all_tasks_blocked()
        assert failures.waiting("pull") == 1
        await world.log(1)
        failures.mend()
        await eventually(lambda: len(world.prefetcher) == 1)
        await anyio.wait_all_tasks_blocked()
        # The four that failed, the one that succeeded, and four that are outstanding.
        assert failures.count("pull") == 4 + 1 + 4
