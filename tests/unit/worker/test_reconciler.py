"""The reconciler: which pending rows a round publishes again, in what order, and how often."""

import random
from collections import Counter

import anyio
import pytest

from shared.events import forward_message
from shared.events.forward_ledger import DeliveryRecord
from tests.support.fakes.reconciling import AFTER_SECONDS, HOUR, OLD_SECONDS, ReconcilingWorld, by_id
from worker.reconciler import INTERVAL_FACTORS, PAGE_EVENTS


@pytest.fixture
async def world() -> ReconcilingWorld:
    return ReconcilingWorld()


async def test_everything_that_stayed_pending_is_published_again(world: ReconcilingWorld) -> None:
    events = await world.committed(40)
    world.clock.advance(OLD_SECONDS)

    assert await world.reconciler().reconcile() == 40

    assert by_id(world.published) == by_id(events)


async def test_the_message_is_the_one_that_ingress_publishes(world: ReconcilingWorld) -> None:
    (event,) = await world.committed(1)
    world.clock.advance(OLD_SECONDS)

    await world.reconciler().reconcile()

    assert world.topic.published == [forward_message.encode(event)]


async def test_what_is_young_settled_in_work_or_set_aside_is_left_alone(world: ReconcilingWorld) -> None:
    settled, claimed, aside = await world.committed(3)
    await world.ledger.settle_delivered([DeliveryRecord(settled.event_id, 1, 0, None, "http_202", 202, ())])
    world.clock.advance(OLD_SECONDS)
    await world.ledger.claim([claimed.event_id, aside.event_id], token="at-work", seconds=60)
    waits = DeliveryRecord(aside.event_id, 1, 0, None, "http_500", 500, (), 1, wait_seconds=HOUR)
    await world.ledger.release([waits], token="at-work")
    await world.committed(1)

    assert await world.reconciler().reconcile() == 0

    assert world.topic.published == []


async def test_what_was_in_work_or_set_aside_is_published_when_that_has_ended(world: ReconcilingWorld) -> None:
    claimed, aside = await world.committed(2)
    world.clock.advance(OLD_SECONDS)
    await world.ledger.claim([claimed.event_id, aside.event_id], token="dies", seconds=60)
    waits = DeliveryRecord(aside.event_id, 1, 0, None, "http_500", 500, (), 1, wait_seconds=HOUR)
    await world.ledger.release([waits], token="dies")
    mine = world.reconciler()
    assert await mine.reconcile() == 0

    world.clock.advance(60 + AFTER_SECONDS)
    assert await mine.reconcile() == 1
    world.clock.advance(HOUR)
    await mine.reconcile()

    assert world.published_ids.count(claimed.event_id) >= 1
    assert world.published_ids.count(aside.event_id) == 1


async def test_of_a_shard_the_oldest_come_first(world: ReconcilingWorld) -> None:
    events = await world.committed(30, shard=7)
    world.clock.advance(OLD_SECONDS)

    await world.reconciler().reconcile()

    assert world.published == events


async def test_a_backlog_beyond_one_page_is_republished_in_one_round_and_once(world: ReconcilingWorld) -> None:
    events = await world.committed(PAGE_EVENTS * 2 + 5, shard=7)
    world.clock.advance(OLD_SECONDS)

    assert await world.reconciler().reconcile() == len(events)

    assert world.published == events
    assert world.topic.failures.count("publish") == 3


async def test_shards_take_turns_a_page_each(world: ReconcilingWorld) -> None:
    many = {event.event_id for event in await world.committed(PAGE_EVENTS * 3, shard=7)}
    few = {event.event_id for event in await world.committed(3, shard=8)}
    world.clock.advance(OLD_SECONDS)

    await world.reconciler().reconcile()

    last_of_the_few = max(place for place, event_id in enumerate(world.published_ids) if event_id in few)
    last_of_the_many = max(place for place, event_id in enumerate(world.published_ids) if event_id in many)
    assert last_of_the_few <= PAGE_EVENTS + len(few)
    assert last_of_the_many == PAGE_EVENTS * 3 + len(few) - 1


class Fed:
    """A topic with each of whose publishes more events are committed than it publishes."""

    def __init__(self, world: ReconcilingWorld) -> None:
        self._world = world
        self._topic = world.topic

    async def publish(self, messages: list[forward_message.OutgoingMessage]) -> None:
        await self._topic.publish(messages)
        assert len(self._topic.published) <= 4 * PAGE_EVENTS, "the round does not end"
        await self._world.committed(PAGE_EVENTS, shard=7)


async def test_a_round_does_not_run_after_what_comes_while_it_runs(world: ReconcilingWorld) -> None:
    # The clock stands still but for the commits, so that theirs are never old enough for another reason.
    await world.committed(2 * PAGE_EVENTS, shard=7)
    world.clock.advance(OLD_SECONDS)
    began = world.clock.now()
    world.topic, topic = Fed(world), world.topic  # type: ignore[assignment]

    await world.reconciler().reconcile()

    born = [row.pending_since for row in world.rows() if row.republished]
    assert all(since is not None and since < began for since in born)
    assert len(topic.published) == 2 * PAGE_EVENTS


async def test_a_mark_that_was_published_under_keeps_the_row_until_its_interval_has_passed(
    world: ReconcilingWorld,
) -> None:
    await world.committed(3)
    world.clock.advance(OLD_SECONDS)
    mine = world.reconciler()

    rounds = []
    for seconds in (0, 0, AFTER_SECONDS, AFTER_SECONDS * 9, AFTER_SECONDS):
        world.clock.advance(seconds)
        rounds.append(await mine.reconcile())

    assert rounds == [3, 0, 3, 0, 3]


async def test_an_outage_of_a_day_makes_seven_messages_of_a_row_at_the_most(world: ReconcilingWorld) -> None:
    """Of the worker: the circuit of this one is closed, or it would rest."""
    events = await world.committed(20)
    born = world.clock.monotonic()
    world.clock.advance(10)  # so that no round finds them just old enough, or just not
    mine = world.reconciler(rng=random.Random(1))
    published_at = []

    while world.clock.monotonic() - born < 24 * HOUR:
        world.clock.advance(30)
        if await mine.reconcile():
            published_at.append(world.clock.monotonic() - born)

    assert set(Counter(world.published_ids).values()) == {7}
    assert set(world.published_ids) == {event.event_id for event in events}
    minutes = [round(seconds / 60) for seconds in published_at]
    assert minutes == [pytest.approx(m, abs=3) for m in (1, 2, 12, 72, 432, 792, 1152)]


async def test_three_at_once_publish_each_row_once_an_interval(world: ReconcilingWorld) -> None:
    events = await world.committed(900)
    reconcilers = [world.reconciler(rng=random.Random(seed)) for seed in range(3)]
    counted = []

    for seconds in (OLD_SECONDS, AFTER_SECONDS, AFTER_SECONDS * 10, AFTER_SECONDS * 60):
        world.clock.advance(seconds)
        async with anyio.create_task_group() as tasks:
            for each in reconcilers:
                tasks.start_soon(each.reconcile)
        counted.append(Counter(world.published_ids))

    for times, counter in enumerate(counted, start=1):
        assert counter == {event.event_id: times for event in events}


async def test_in_steady_state_a_round_scans_what_is_new_or_due_and_nothing_else(world: ReconcilingWorld) -> None:
    await world.committed(2_000)
    world.clock.advance(OLD_SECONDS)
    mine = world.reconciler()

    async def scanned() -> int:
        before = world.republishing.scanned
        await mine.reconcile()
        return world.republishing.scanned - before

    assert await scanned() == 2_000
    assert [await scanned(), await scanned()] == [0, 0], "all wait for their time"
    await world.committed(5)
    world.clock.advance(AFTER_SECONDS / 2)
    assert await scanned() == 0, "five are too young"
    world.clock.advance(AFTER_SECONDS / 2 + 5)
    assert await scanned() == 2_000 + 5, "those are due again, these have become old enough"
    assert await scanned() == 0


async def test_what_was_skipped_is_looked_at_again_after_the_longest_interval(world: ReconcilingWorld) -> None:
    (event,) = await world.committed(1)
    world.clock.advance(1)
    mine = world.reconciler(after_seconds=0.0001)
    await mine.reconcile()
    world.row(event.event_id).again_at = None  # by a hand or a bug: no more in the index by which it comes back
    assert await mine.reconcile() == 0

    await anyio.sleep(0.0001 * INTERVAL_FACTORS[-1] * 1.5)

    assert await mine.reconcile() == 1
