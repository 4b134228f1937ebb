"""Leases: extended while held, ended by ack or nack, whatever Pub/Sub answers."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest

from shared.errors import SubscriptionUnavailableError
from tests.support.eventually import eventually
from tests.support.fakes.worker_world import WorkerWorld
from worker.leases import LEASE_SECONDS, Leases
from worker.subscription import ReceivedMessage

DOWN = SubscriptionUnavailableError("down")


@pytest.fixture(autouse=True)
def short_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.leases.EXTENSION_INTERVAL_SECONDS", 0.002)  # no setting reaches it


@pytest.fixture
async def world() -> WorkerWorld:
    return WorkerWorld()


async def held(world: WorkerWorld, count: int) -> tuple[Leases, list[ReceivedMessage]]:
    _, messages = await world.logged_and_pulled(count)
    leases = Leases(world.subscription)
    leases.add(messages)
    return leases, messages


@asynccontextmanager
async def extending(leases: Leases) -> AsyncIterator[None]:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(leases.extend_forever)
        yield
        tasks.cancel_scope.cancel()


async def extended(world: WorkerWorld) -> None:
    so_far = world.subscription.failures.count("extend")
    await eventually(lambda: world.subscription.failures.count("extend") > so_far + 1)


async def test_what_is_held_stays_leased_far_beyond_the_first_deadline(world: WorkerWorld) -> None:
    leases, _ = await held(world, 2)

    async with extending(leases):
        for _ in range(5):
            await extended(world)
            world.clock.advance(LEASE_SECONDS - 1)

    assert world.subscription.leased == {"1", "2"}
    assert world.subscription.backlog == {"1": 1, "2": 1}


async def test_an_extension_that_fails_is_tried_again(world: WorkerWorld) -> None:
    leases, _ = await held(world, 1)
    world.subscription.failures.fail_next("extend", DOWN, times=3)

    async with extending(leases):
        await eventually(lambda: world.subscription.failures.count("extend") >= 5)
        world.clock.advance(LEASE_SECONDS - 1)

    assert world.subscription.leased == {"1"}


async def test_without_anything_held_nothing_is_asked(world: WorkerWorld) -> None:
    async with extending(Leases(world.subscription)):
        await anyio.sleep(0.01)

    assert world.journal == []


async def test_what_is_held_is_told_in_the_order_in_which_it_came(world: WorkerWorld) -> None:
    leases, messages = await held(world, 3)

    assert leases.leased() == messages


async def test_an_acknowledged_message_is_gone_and_no_longer_extended(world: WorkerWorld) -> None:
    leases, (first, second) = await held(world, 2)

    await leases.acknowledge([first])

    assert leases.leased() == [second]
    assert world.subscription.acknowledged == [first.message_id]
    async with extending(leases):
        await extended(world)
    assert world.subscription.leased == {second.message_id}


async def test_a_message_given_back_comes_again_after_the_backoff(world: WorkerWorld) -> None:
    leases, messages = await held(world, 1)

    await leases.nack(messages)

    assert leases.leased() == []
    assert world.subscription.leased == set()
    world.clock.advance(world.subscription.minimum_backoff_seconds)
    (again,) = await world.pull()
    assert again.delivery_attempt == 2


@pytest.mark.parametrize("call", ["acknowledge", "nack"])
async def test_what_pubsub_does_not_take_is_dropped_all_the_same(world: WorkerWorld, call: str) -> None:
    leases, messages = await held(world, 1)
    world.subscription.failures.fail_next(call, DOWN)

    await getattr(leases, call)(messages)

    assert leases.leased() == []
    world.clock.advance(60)
    assert len(await world.pull()) == 1  # by the end of its lease


async def test_a_message_that_is_not_held_is_neither_acknowledged_nor_given_back(world: WorkerWorld) -> None:
    leases, messages = await held(world, 1)
    await leases.acknowledge(messages)
    world.journal.clear()

    await leases.acknowledge(messages)
    await leases.nack(messages)

    assert world.journal == []
