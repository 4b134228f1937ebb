"""Replays on the fakes: no event is lost or sent twice, and each event goes to one of two replays."""

from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import count

import anyio
import pytest

from shared.errors import PublishFailedError, StorageUnavailableError
from shared.events import forward_message
from shared.events.dead_letter_table import Closing, LetterChoice
from shared.events.event import Event
from shared.events.forward_ledger import DeliveryRecord
from tests.support.fakes.manual_clock import ManualClock
from tests.support.fakes.memory_dead_letter_table import MemoryDeadLetterTable
from tests.support.fakes.memory_event_log import MemoryEventLogRepository, MemoryStore
from tests.support.fakes.memory_forward_ledger import MemoryForwardLedger
from tests.support.fakes.memory_pubsub import MemoryTopic
from tests.support.fakes.memory_replay_ledger import MemoryReplayLedger
from tests.support.fakes.scripted_failures import ScriptedFailures, When
from tests.support.sample_events import sample_event, sample_row
from worker.dead_letter_messages import read_dead_letter
from worker.operators.dead_letters import replay_job as replaying
from worker.operators.dead_letters.forecast import Outcome
from worker.operators.dead_letters.replay_job import Job, Replaying
from worker.subscription import ReceivedMessage

FAST = 1e9
AT = datetime(2023, 1, 1, tzinfo=UTC)


class World:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.store = MemoryStore(self.clock)
        self.journal: list[str] = []
        self._numbers = count()
        self.ledger = MemoryForwardLedger(self.store)
        self.replays = MemoryReplayLedger(self.store, failures=ScriptedFailures(self.journal))
        self.letters = MemoryDeadLetterTable(self.store, failures=ScriptedFailures(self.journal))
        self.forward = MemoryTopic(self.clock, failures=ScriptedFailures(self.journal))

    async def dead_letter(self, number: int) -> list[Event]:
        events = [sample_event() for _ in range(number)]
        await MemoryEventLogRepository(self.store).append([sample_row(event) for event in events])
        await self.kill(events)
        return events

    async def kill(self, events: Sequence[Event]) -> None:
        ids = [event.event_id for event in events]
        await self.ledger.claim(ids, token="worker", seconds=60)
        await self.ledger.settle_dead([DeliveryRecord(i, 1, 0, AT, "http_400", 400, ()) for i in ids], token="worker")
        await self.letters_of(events)

    async def letters_of(self, events: Sequence[Event]) -> None:
        now = self.clock.now()
        for event in events:
            message = forward_message.encode(event)
            received = ReceivedMessage("a", f"m-{next(self._numbers)}", message.data, message.attributes, now, 0)
            await self.letters.collect([read_dead_letter(received)])

    async def still_open(self) -> set[str]:
        return {each.subject for each in await self.letters.open(LetterChoice())}

    async def replay(
        self, events: Sequence[Event], *, max_replays: int = 3, from_row: bool = False
    ) -> dict[str, Outcome]:
        work = self.replaying(max_replays=max_replays)
        await work.replay([Job(event.event_id, from_row=from_row) for event in events], lambda _: None)
        return work.outcomes

    def replaying(self, *, max_replays: int = 3, events_per_second: float = FAST) -> Replaying:
        return Replaying(
            ledger=self.replays,
            letters=self.letters,
            topic=self.forward,
            max_replays=max_replays,
            events_per_second=events_per_second,
        )


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(replaying, "PATIENCE_SECONDS", 0.5)
    return World()


async def test_reads_the_messages_then_reopens_and_closes_then_publishes(world: World) -> None:
    events = await world.dead_letter(3)
    del world.journal[:]

    outcomes = await world.replay(events)

    assert outcomes == {event.event_id: Outcome.SENT for event in events}
    steps = [step for step in world.journal if step in ("of", "reopen", "publish")]
    assert steps == ["of", "reopen", "publish"]
    assert world.forward.published == [forward_message.encode(event) for event in events]
    assert await world.still_open() == set()


async def test_an_event_without_a_dead_letter_is_rebuilt_from_its_row(world: World) -> None:
    events = await world.dead_letter(2)
    await world.letters.close([event.event_id for event in events], Closing.DISCARDED)

    assert await world.replay(events, from_row=True) == {event.event_id: Outcome.SENT for event in events}
    assert world.forward.published == [forward_message.encode(event) for event in events]


async def test_what_is_delivered_is_closed_and_never_sent(world: World) -> None:
    (event,) = await world.dead_letter(1)
    await world.ledger.settle_delivered([DeliveryRecord(event.event_id, 1, 0, None, "http_202", 202, ())])

    assert await world.replay([event]) == {event.event_id: Outcome.DELIVERED}
    assert world.forward.published == []
    assert await world.still_open() == set()


async def test_what_a_worker_has_and_what_is_quarantined_stays(world: World) -> None:
    in_work, worn_out = await world.dead_letter(2)
    await world.replays.reopen([in_work.event_id, worn_out.event_id], max_replays=3)
    await world.kill([worn_out])
    world.clock.advance(1)
    await world.letters_of([in_work])  # after the replay: Pub/Sub gave up on it
    await world.ledger.claim([in_work.event_id], token="worker", seconds=60)

    outcomes = await world.replay([in_work, worn_out], max_replays=1)

    assert outcomes == {in_work.event_id: Outcome.IN_WORK, worn_out.event_id: Outcome.QUARANTINED}
    assert world.forward.published == []
    assert await world.still_open() == {in_work.event_id, worn_out.event_id}


async def test_a_publish_that_fails_leaves_the_event_pending_for_the_reconciler(world: World) -> None:
    (event,) = await world.dead_letter(1)
    world.forward.failures.fail_next("publish", PublishFailedError("down"))

    with pytest.raises(PublishFailedError):
        await world.replay([event])

    row = world.store.ledger[event.event_id]
    assert (row.state, row.replays) == ("PENDING", 1)
    assert await world.still_open() == set()


async def test_a_short_absence_of_spanner_ends_no_replay(world: World) -> None:
    events = await world.dead_letter(1)
    world.letters.failures.fail_next("of", StorageUnavailableError("away"))
    world.replays.failures.fail_next("reopen", StorageUnavailableError("away"))

    assert set((await world.replay(events)).values()) == {Outcome.SENT}


async def test_what_was_reopened_by_a_try_whose_answer_was_lost_is_sent(world: World) -> None:
    events = await world.dead_letter(2)
    world.replays.failures.fail_next("reopen", StorageUnavailableError("lost"), when=When.AFTER)

    assert set((await world.replay(events)).values()) == {Outcome.SENT_AGAIN}
    assert len(world.forward.published) == 2
    assert {row.replays for row in world.store.ledger.values()} == {1}


async def test_of_two_replays_at_once_one_has_each_event(world: World) -> None:
    events = await world.dead_letter(50)
    jobs = [Job(event.event_id) for event in events]
    both = [world.replaying(events_per_second=10_000), world.replaying(events_per_second=10_000)]

    async with anyio.create_task_group() as tasks:
        for each in both:
            tasks.start_soon(each.replay, jobs, lambda _: None)

    assert len(world.forward.published) == 50
    for event in events:
        assert {each.outcomes[event.event_id] for each in both} == {Outcome.SENT, Outcome.TAKEN}


async def test_a_letter_that_was_closed_since_it_was_chosen_is_left(world: World) -> None:
    (event,) = await world.dead_letter(1)
    await world.letters.close([event.event_id], Closing.DISCARDED)

    assert await world.replay([event]) == {event.event_id: Outcome.TAKEN}
    assert world.forward.published == []
    assert world.store.ledger[event.event_id].state == "DEAD"
