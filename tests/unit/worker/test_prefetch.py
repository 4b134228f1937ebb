"""Pulling ahead: what is outstanding, what waits, and what becomes of it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import anyio.lowlevel
import pytest

from shared.errors import SubscriptionUnavailableError
from shared.events.forward_ledger import ForwardState
from tests.support.eventually import eventually
from tests.support.fakes.scripted_forwarder import UNAVAILABLE
from tests.support.fakes.worker_world import PROBE_SECONDS, TickingClock, WorkerWorld
from worker.subscription import ReceivedMessage

DOWN = SubscriptionUnavailableError("down")


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Constants that no setting reaches."""
    monkeypatch.setattr("worker.stoppable_waits.FIRST_PAUSE_SECONDS", 0.001)
    monkeypatch.setattr("worker.stoppable_waits.LONGEST_PAUSE_SECONDS", 0.005)
    monkeypatch.setattr("worker.pull_loop.PROBE_PULL_SECONDS", 0.01)
    monkeypatch.setattr("worker.leases.EXTENSION_SECONDS", 0.005)
    monkeypatch.setattr("worker.suspects.CHECK_SECONDS", 0.002)
    monkeypatch.setattr("worker.prefetch.TAKE_SECONDS", 0.02)


def world_of(pulls: int = 2, pull_messages: int = 500, ahead_messages: int = 500) -> WorkerWorld:
    return WorkerWorld(pulls=pulls, pull_messages=pull_messages, ahead_messages=ahead_messages, clock=TickingClock())


@asynccontextmanager
async def pulling(world: WorkerWorld) -> AsyncIterator[None]:
    """Without lanes; stopped in the orderly way."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(world.pulling.run)
        yield
        world.stopping.set()
        tasks.cancel_scope.deadline = anyio.current_time() + 2
    assert not tasks.cancel_scope.cancelled_caught, "did not stop"


async def extended(world: WorkerWorld) -> None:
    so_far = world.subscription.failures.count("extend")
    await eventually(lambda: world.subscription.failures.count("extend") > so_far)


def numbers(messages: list[ReceivedMessage]) -> list[int]:
    return [int(message.message_id) for message in messages]


async def test_so_many_pulls_are_outstanding_at_once() -> None:
    world = world_of(pulls=3)
    world.subscription.failures.hold("pull")

    async with pulling(world):
        await eventually(lambda: world.subscription.failures.waiting("pull") == 3)
        await anyio.wait_all_tasks_blocked()
        assert world.subscription.failures.waiting("pull") == 3
        world.subscription.failures.mend()


async def test_what_several_pulls_brought_is_taken_together_in_its_order() -> None:
    world = world_of(pulls=2, pull_messages=3, ahead_messages=8)
    await world.log(10)

    async with pulling(world):
        await eventually(lambda: len(world.pulling) >= 8)

        taken = await world.pulling.take(7)

        assert numbers(taken) == sorted(numbers(taken))
        assert len(taken) == 7


async def test_a_lone_message_is_taken_as_soon_as_it_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    world = world_of()

    monkeypatch.setattr("worker.prefetch.TAKE_SECONDS", 1e6)

    async with pulling(world), anyio.create_task_group() as tasks:
        taken: list[ReceivedMessage] = []

        async def take() -> None:
            taken.extend(await world.pulling.take(500))

        tasks.start_soon(take)
        await anyio.wait_all_tasks_blocked()
        assert not taken
        await world.log(1)
        await eventually(lambda: taken)

    assert numbers(taken) == [1]


async def test_no_pull_begins_while_enough_waits_and_one_does_once_some_is_taken() -> None:
    world = world_of(pulls=2, pull_messages=5, ahead_messages=10)
    await world.log(40)

    async with pulling(world):
        await eventually(lambda: len(world.pulling) >= 10)
        await anyio.wait_all_tasks_blocked()
        # Each of the two may have begun while fewer than ten waited.
        assert 10 <= len(world.pulling) < 10 + 2 * 5
        pulls = world.subscription.failures.count("pull")

        await world.pulling.take(10)

        await eventually(lambda: world.subscription.failures.count("pull") > pulls)


async def test_no_pull_begins_while_too_many_bytes_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.prefetch.MAX_AHEAD_BYTES", 100)
    world = world_of(pulls=1, pull_messages=1)
    await world.log(5)

    async with pulling(world):
        await eventually(lambda: len(world.pulling))
        await anyio.wait_all_tasks_blocked()
        assert len(world.pulling) == 1
        await world.pulling.take(1)
        await eventually(lambda: len(world.pulling) == 1)


async def test_a_quiet_pull_says_nothing_of_what_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pub/Sub may bring none within a pull's time although there are some."""
    world = world_of(pulls=1)
    real_pull, quiet = world.subscription.pull, 3

    async def pull(*, max_messages: int, wait_seconds: float) -> list[ReceivedMessage]:
        nonlocal quiet
        quiet -= 1
        found = await real_pull(max_messages=max_messages, wait_seconds=wait_seconds) if quiet < 0 else []
        await anyio.lowlevel.checkpoint()
        return found

    monkeypatch.setattr(world.subscription, "pull", pull)
    await world.log(2)

    async with pulling(world):
        assert numbers(await world.pulling.take(500)) == [1, 2]


async def test_what_waits_keeps_its_lease() -> None:
    world = world_of()
    world.forwarder.failures.hold("send")

    async with world.running(lanes=2, batch_messages=1):
        await world.log(5)
        await eventually(lambda: len(world.pulling) == 3)
        for _ in range(5):
            await extended(world)
            world.clock.advance(8)
        assert world.subscription.leased == {"1", "2", "3", "4", "5"}
        assert set(world.subscription.backlog.values()) == {1}
        world.forwarder.failures.mend()
        await eventually(lambda: not world.subscription.backlog)


async def test_stopping_gives_back_at_once_what_no_lane_has_taken_while_the_batch_in_work_ends() -> None:
    world = world_of()
    gate = world.forwarder.failures.hold("send")

    async with world.running(batch_messages=2):
        await world.log(2)
        await eventually(lambda: world.forwarder.failures.waiting("send"))
        await world.log(3)
        await eventually(lambda: len(world.pulling) == 3)
        world.stopping.set()
        await eventually(lambda: world.subscription.leased == {"1", "2"})
        gate.set()

    assert world.states() == [ForwardState.DELIVERED] * 2 + [ForwardState.PENDING] * 3
    assert world.subscription.leased == set()
    assert {row.claim_token for row in world.store.ledger.values()} == {None}


async def test_stopping_ends_pulls_that_wait() -> None:
    async with pulling(world_of(pulls=3)):
        await anyio.wait_all_tasks_blocked()


async def test_what_waits_when_the_circuit_opens_is_parked_and_tried_again_when_it_closes() -> None:
    world = world_of(pull_messages=5, ahead_messages=100)
    world.forwarder.always = UNAVAILABLE
    await world.log(40)

    async with world.running(lanes=2, batch_messages=5):
        await eventually(lambda: world.circuit.open_reason)
        await world.time_passes_until(lambda: len(world.parked) >= 38, step_seconds=10 * PROBE_SECONDS)
        assert len(world.pulling) == 0
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
        await eventually(lambda: len(world.pulling) == 3)


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


async def test_lanes_that_wait_for_messages_with_all_turns_look_at_what_is_parked() -> None:
    world = world_of()
    messages = [message for _ in range(4) for message in (await world.logged_and_pulled(1))[1]]
    world.leases.hold(messages)
    gate = world.forwarder.failures.hold("send")

    async with world.running(lanes=2, batch_messages=1):
        await anyio.wait_all_tasks_blocked()
        world.parked.park(messages)
        await eventually(lambda: world.forwarder.failures.waiting("send") == 2)
        gate.set()
        await eventually(lambda: not world.subscription.backlog)


async def test_lanes_that_wait_for_messages_with_all_turns_notice_that_the_circuit_opened() -> None:
    """As where a lane that has lent its turn opens it: nobody else could probe."""
    world = world_of()
    (_, messages) = await world.logged_and_pulled(4)
    world.leases.hold(messages)

    async with world.running(lanes=2):
        await anyio.wait_all_tasks_blocked()
        world.open_circuit()
        world.parked.park(messages)
        await world.time_passes_until(lambda: not world.subscription.backlog, step_seconds=PROBE_SECONDS)

    assert len(world.forwarder.requests[0]) == 1


async def test_pulls_that_fail_pause_and_go_on() -> None:
    world = world_of(pulls=2)
    await world.log(1)
    world.subscription.failures.fail_next("pull", DOWN, times=10)

    async with pulling(world):
        await eventually(lambda: len(world.pulling) == 1)

    assert world.subscription.failures.count("pull") > 10
