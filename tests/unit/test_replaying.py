"""Reading and replaying dead letters on the fakes: nothing is consumed, nothing lost, nothing sent twice."""

from datetime import UTC, datetime

import anyio
import pytest

from shared import forward_message
from shared.errors import PublishFailedError, StorageUnavailableError, SubscriptionUnavailableError
from shared.event import Event
from shared.forward_ledger import Attempt
from tests.support.eventually import eventually
from tests.support.manual_clock import ManualClock
from tests.support.memory_event_log import MemoryEventLogRepository, MemoryStore
from tests.support.memory_forward_ledger import MemoryForwardLedger
from tests.support.memory_pubsub import MemorySubscription, MemoryTopic
from tests.support.sample_events import sample_event, sample_row
from tests.support.scripted_failures import ScriptedFailures
from worker.operators import reading, replaying
from worker.operators.forecast import Outcome
from worker.operators.letters import by_subject
from worker.operators.reading import Held, held_letters
from worker.operators.replaying import Job, Replaying

FAST = 1e9


class World:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.store = MemoryStore(self.clock)
        self.journal: list[str] = []
        self.ledger = MemoryForwardLedger(self.store, failures=ScriptedFailures(self.journal))
        self.forward = MemoryTopic(self.clock, failures=ScriptedFailures(self.journal))
        self.dead_letters = MemoryTopic(self.clock)
        self.subscription = MemorySubscription(
            self.dead_letters, minimum_backoff_seconds=0, failures=ScriptedFailures(self.journal)
        )

    async def bury(self, count: int) -> list[Event]:
        events = [sample_event() for _ in range(count)]
        await MemoryEventLogRepository(self.store).append([sample_row(event) for event in events])
        await self.kill(events)
        return events

    async def kill(self, events: list[Event]) -> None:
        ids = [event.event_id for event in events]
        await self.ledger.claim(ids, token="worker", seconds=60)
        at = datetime(2026, 1, 1, tzinfo=UTC)
        await self.dead_letters.publish([forward_message.encode(event) for event in events])
        await self.ledger.settle_dead([Attempt(i, 1, 0, at, "http_400", 400, ()) for i in ids], token="worker")

    async def replay(self, held: Held, *, max_replays: int = 3) -> dict[str, Outcome]:
        jobs = [Job(each.subject, each.latest.original(), each.messages) for each in by_subject(held.letters.values())]
        work = Replaying(
            ledger=self.ledger,
            topic=self.forward,
            leases=held.leases,
            max_replays=max_replays,
            events_per_second=FAST,
        )
        await work.replay(jobs, lambda _: None)
        return work.outcomes


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(reading, "QUIET_SECONDS", 0.05)
    monkeypatch.setattr(reading, "EMPTY_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(replaying, "PATIENCE_SECONDS", 0.5)
    return World()


async def test_reading_finds_all_and_leaves_all(world: World) -> None:
    await world.bury(2500)

    async with held_letters(world.subscription) as held:
        assert len(held.letters) == 2500
        assert len(world.subscription.leased) == 2500

    assert not world.subscription.leased
    assert len(world.subscription.backlog) == 2500
    assert world.subscription.acknowledged == []


async def test_a_read_that_is_cancelled_gives_all_back(world: World) -> None:
    await world.bury(10)

    async def read() -> None:
        async with held_letters(world.subscription):
            await anyio.sleep_forever()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read)
        await eventually(lambda: len(world.subscription.leased) == 10)
        tasks.cancel_scope.cancel()

    assert not world.subscription.leased
    assert len(world.subscription.backlog) == 10


async def test_a_subscription_that_is_gone_is_told(world: World) -> None:
    world.subscription.delete()

    with pytest.raises(ExceptionGroup) as failure:
        async with held_letters(world.subscription):
            pytest.fail("there is nothing to hold")

    assert failure.group_contains(SubscriptionUnavailableError)


async def test_reading_ends_at_what_one_command_may_hold(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MAX_LETTERS", 1000)
    await world.bury(6000)

    async with held_letters(world.subscription) as held:
        assert held.is_full

    assert len(world.subscription.backlog) == 6000


async def test_reopens_then_publishes_then_acknowledges(world: World) -> None:
    events = await world.bury(3)
    del world.journal[:]

    async with held_letters(world.subscription) as held:
        outcomes = await world.replay(held)

    assert outcomes == {event.event_id: Outcome.SENT for event in events}
    steps = [step for step in world.journal if step in ("reopen", "publish", "acknowledge")]
    assert steps == ["reopen", "publish", "acknowledge"]
    assert world.forward.published == [
        forward_message.encode(event) for event in sorted(events, key=lambda event: event.event_id)
    ]
    assert world.subscription.backlog == {}


async def test_several_dead_letters_of_an_event_are_one_replay(world: World) -> None:
    (event,) = await world.bury(1)
    await world.kill([event])

    async with held_letters(world.subscription) as held:
        assert len(held.letters) == 2
        assert await world.replay(held) == {event.event_id: Outcome.SENT}

    assert len(world.forward.published) == 1
    assert world.subscription.backlog == {}


async def test_delivered_is_acknowledged_and_never_sent(world: World) -> None:
    (event,) = await world.bury(1)
    await world.ledger.settle_delivered([Attempt(event.event_id, 1, 0, None, "http_202", 202, ())])

    async with held_letters(world.subscription) as held:
        assert await world.replay(held) == {event.event_id: Outcome.DELIVERED}

    assert world.forward.published == []
    assert world.subscription.backlog == {}


async def test_what_a_worker_holds_and_what_is_quarantined_stays(world: World) -> None:
    held_now, worn_out = await world.bury(2)
    await world.ledger.reopen([held_now.event_id, worn_out.event_id], max_replays=3)
    await world.kill([worn_out])
    await world.ledger.claim([held_now.event_id], token="worker", seconds=60)

    async with held_letters(world.subscription) as held:
        outcomes = await world.replay(held, max_replays=1)

    assert outcomes == {held_now.event_id: Outcome.IN_WORK, worn_out.event_id: Outcome.QUARANTINED}
    assert world.forward.published == []
    assert len(world.subscription.backlog) == 3


async def test_a_publish_that_fails_leaves_the_dead_letter_and_the_next_replay_sends_it(world: World) -> None:
    (event,) = await world.bury(1)
    world.forward.failures.fail_next("publish", PublishFailedError("down"))

    with pytest.raises(ExceptionGroup):
        async with held_letters(world.subscription) as held:
            await world.replay(held)
    assert len(world.subscription.backlog) == 1

    async with held_letters(world.subscription) as held:
        assert await world.replay(held) == {event.event_id: Outcome.SENT_AGAIN}
    assert len(world.forward.published) == 1
    assert world.store.ledger[event.event_id].replays == 1


async def test_a_short_absence_of_spanner_ends_no_replay(world: World) -> None:
    (event,) = await world.bury(1)
    world.ledger.failures.fail_next("reopen", StorageUnavailableError("away"))

    async with held_letters(world.subscription) as held:
        assert await world.replay(held) == {event.event_id: Outcome.SENT}
