"""Collecting dead letters on the fakes: each is kept once, and acknowledged only after that."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest

from shared.errors import StorageRejectedError, StorageUnavailableError, SubscriptionUnavailableError
from shared.events import forward_message
from shared.events.dead_letter_table import LetterChoice
from shared.events.forward_message import EVENT_ID_ATTRIBUTE, OutgoingMessage
from tests.support.eventually import eventually
from tests.support.fakes.manual_clock import ManualClock
from tests.support.fakes.memory_dead_letter_table import MemoryDeadLetterTable
from tests.support.fakes.memory_event_log import MemoryStore
from tests.support.fakes.memory_pubsub import MemorySubscription, MemoryTopic
from tests.support.fakes.scripted_failures import When
from tests.support.sample_events import sample_event
from worker import stoppable_waits as waits
from worker.dead_letter_collector import DeadLetterCollector


class World:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.store = MemoryStore(self.clock)
        self.table = MemoryDeadLetterTable(self.store)
        self.topic = MemoryTopic(self.clock)
        self.subscription = MemorySubscription(self.topic, minimum_backoff_seconds=0)

    @asynccontextmanager
    async def collecting(self) -> AsyncIterator[None]:
        stopping = anyio.Event()
        work = DeadLetterCollector(subscription=self.subscription, table=self.table, stopping=stopping)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(work.run)
            yield
            stopping.set()

    async def kept(self) -> int:
        return len(await self.table.open(LetterChoice()))


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(waits, "FIRST_PAUSE_SECONDS", 0.001)
    return World()


def messages(count: int) -> list[OutgoingMessage]:
    return [forward_message.encode(sample_event()) for _ in range(count)]


async def test_letters_are_kept_and_then_acknowledged(world: World) -> None:
    await world.topic.publish([*messages(250), OutgoingMessage(b"poison", {})])

    async with world.collecting():
        await eventually(lambda: not world.subscription.backlog)

    assert await world.kept() == 251
    assert len(world.subscription.acknowledged) == 251


@pytest.mark.parametrize("when", When)
async def test_what_spanner_does_not_take_comes_again_and_is_kept_once(world: World, when: When) -> None:
    await world.topic.publish(messages(3))
    world.table.failures.fail_next("collect", StorageUnavailableError("away"), times=2, when=when)

    async with world.collecting():
        await eventually(lambda: not world.subscription.backlog)

    assert await world.kept() == 3


async def test_a_letter_that_spanner_refuses_keeps_no_other_from_being_kept(world: World) -> None:
    await world.topic.publish(messages(3))
    refused = StorageRejectedError("no")
    # The three together, and then the first alone.
    world.table.failures.fail_next("collect", refused, times=2)

    async with world.collecting():
        await eventually(lambda: len(world.store.letters) == 3)

    assert not world.subscription.leased


async def test_a_bug_ends_nothing(world: World) -> None:
    await world.topic.publish(messages(1))
    world.table.failures.fail_next("collect", ZeroDivisionError())

    async with world.collecting():
        await eventually(lambda: not world.subscription.backlog)

    assert await world.kept() == 1


async def test_a_pubsub_that_is_away_is_asked_again(world: World) -> None:
    world.subscription.failures.fail_next("pull", SubscriptionUnavailableError("away"), times=3)
    await world.topic.publish(messages(1))

    async with world.collecting():
        await eventually(lambda: not world.subscription.backlog)

    assert await world.kept() == 1


async def test_it_ends_at_once_while_it_waits(world: World) -> None:
    with anyio.fail_after(2):
        async with world.collecting():
            await anyio.lowlevel.checkpoint()


async def test_letters_of_erased_events_are_acknowledged_and_not_kept(world: World) -> None:
    erased = sample_event()
    world.store.erased.add(erased.event_id)
    undecodable = OutgoingMessage(b"poison", {EVENT_ID_ATTRIBUTE: erased.event_id})
    await world.topic.publish([forward_message.encode(erased), undecodable, *messages(1)])

    async with world.collecting():
        await eventually(lambda: not world.subscription.backlog)

    assert len(world.subscription.acknowledged) == 3
    assert await world.kept() == 1
