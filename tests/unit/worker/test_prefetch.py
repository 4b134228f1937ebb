"""Prefetching: how many pulls are outstanding, how much waits, and what becomes of it."""

import anyio
import anyio.lowlevel
import pytest

from shared.events.forward_ledger import ForwardState
from tests.support.eventually import eventually
from tests.support.fakes.running_worker import extended, pulling
from tests.support.fakes.worker_world import TickingClock, WorkerWorld
from worker.subscription import ReceivedMessage

pytestmark = pytest.mark.usefixtures("short_takes")


def world_of(pulls: int = 2, pull_messages: int = 500, prefetch_messages: int = 500) -> WorkerWorld:
    return WorkerWorld(
        pulls=pulls, pull_messages=pull_messages, prefetch_messages=prefetch_messages, clock=TickingClock()
    )


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
    world = world_of(pulls=2, pull_messages=3, prefetch_messages=8)
    await world.log(10)

    async with pulling(world):
        await eventually(lambda: len(world.prefetcher) >= 8)

        taken = await world.prefetcher.take(7)

        assert numbers(taken) == sorted(numbers(taken))
        assert len(taken) == 7


async def test_a_lone_message_is_taken_as_soon_as_it_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    world = world_of()

    monkeypatch.setattr("worker.prefetch.TAKE_TIMEOUT_SECONDS", 1e6)

    async with pulling(world), anyio.create_task_group() as tasks:
        taken: list[ReceivedMessage] = []

        async def take() -> None:
            taken.extend(await world.prefetcher.take(500))

        tasks.start_soon(take)
        await anyio.wait_all_tasks_blocked()
        assert not taken
        await world.log(1)
        await eventually(lambda: taken)

    assert numbers(taken) == [1]


async def test_no_pull_begins_while_enough_waits_and_one_does_once_some_is_taken() -> None:
    world = world_of(pulls=2, pull_messages=5, prefetch_messages=10)
    await world.log(40)

    async with pulling(world):
        await eventually(lambda: len(world.prefetcher) >= 10)
        await anyio.wait_all_tasks_blocked()
        # Each of the two may have begun while fewer than ten waited.
        assert 10 <= len(world.prefetcher) < 10 + 2 * 5
        pulls = world.subscription.failures.count("pull")

        await world.prefetcher.take(10)

        await eventually(lambda: world.subscription.failures.count("pull") > pulls)


async def test_no_pull_begins_while_too_many_bytes_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.prefetch.MAX_PREFETCHED_BYTES", 100)
    world = world_of(pulls=1, pull_messages=1)
    await world.log(5)

    async with pulling(world):
        await eventually(lambda: len(world.prefetcher))
        await anyio.wait_all_tasks_blocked()
        assert len(world.prefetcher) == 1
        await world.prefetcher.take(1)
        await eventually(lambda: len(world.prefetcher) == 1)


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
        assert numbers(await world.prefetcher.take(500)) == [1, 2]


async def test_what_waits_keeps_its_lease() -> None:
    world = world_of()
    world.forwarder.failures.hold("send")

    async with world.running(lanes=2, batch_messages=1):
        await world.log(5)
        await eventually(lambda: len(world.prefetcher) == 3)
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
        await eventually(lambda: len(world.prefetcher) == 3)
        world.stopping.set()
        await eventually(lambda: world.subscription.leased == {"1", "2"})
        gate.set()

    assert world.states() == [ForwardState.DELIVERED] * 2 + [ForwardState.PENDING] * 3
    assert world.subscription.leased == set()
    assert {row.claim_token for row in world.store.ledger.values()} == {None}


async def test_stopping_ends_pulls_that_wait() -> None:
    async with pulling(world_of(pulls=3)):
        await anyio.wait_all_tasks_blocked()


async def test_where_a_lane_waited_in_vain_there_is_no_backlog() -> None:
    """What is pending then has lost its message, and must not wait for one to come."""
    world = world_of()
    await world.log(1)
    async with pulling(world):
        await eventually(lambda: len(world.prefetcher) == 1)
        world.position.note(await world.prefetcher.take(1))
        assert world.position.current is not None

        assert await world.prefetcher.take(1) == []

    assert world.position.current is None


async def test_a_lane_that_was_only_slower_than_another_says_nothing_of_the_backlog(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("worker.prefetch.TAKE_TIMEOUT_SECONDS", 1e6)
    world = world_of()
    taken: list[int] = []

    async def take() -> None:
        messages = await world.prefetcher.take(500)
        world.position.note(messages)
        taken.append(len(messages))

    async with pulling(world), anyio.create_task_group() as tasks:
        tasks.start_soon(take)
        tasks.start_soon(take)
        await anyio.wait_all_tasks_blocked()
        await world.log(1)
        await eventually(lambda: len(taken) == 2)

    assert sorted(taken) == [0, 1]
    assert world.position.current is not None
