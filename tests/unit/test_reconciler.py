"""The reconciler: publishes again what stayed pending, oldest first, at a bounded rate, through outages."""

from collections.abc import Callable

import anyio
import pytest

from shared import forward_message
from shared.errors import EventLoggingError, PublishFailedError, StorageUnavailableError
from shared.event import Event
from shared.forward_ledger import Attempt
from tests.support.eventually import eventually
from tests.support.sample_events import in_shard, sample_event, sample_row
from tests.support.scripted_failures import When
from tests.support.worker_world import FixedRandom, WorkerWorld
from worker.dead_letters import DeadLetters
from worker.reconciler import BATCH_EVENTS, Reconciler

AFTER_SECONDS = 60.0
FAST = 1e9
"""Events a second."""

INTERVAL_SECONDS = 0.01


@pytest.fixture
async def world() -> WorkerWorld:
    return WorkerWorld()


def reconciler(world: WorkerWorld, *, events_per_second: float = FAST, rng: FixedRandom | None = None) -> Reconciler:
    return Reconciler(
        dead_letters=DeadLetters(world.dead_letter_topic),
        ledger=world.ledger,
        publisher=world.topic,
        after_seconds=AFTER_SECONDS,
        interval_seconds=INTERVAL_SECONDS,
        events_per_second=events_per_second,
        rng=rng or FixedRandom(),
    )


async def committed(world: WorkerWorld, count: int, *, shard: int | None = None) -> list[Event]:
    """Never published: the process died in between."""
    events = [sample_event(**({} if shard is None else {"event_id": in_shard(shard)})) for _ in range(count)]
    for event in events:
        await world.repository.append([sample_row(event)])
        world.clock.advance(0.001)
    return events


def published(world: WorkerWorld) -> list[Event]:
    return [forward_message.decode(message.data) for message in world.topic.published]


def by_id(events: list[Event]) -> list[Event]:
    return sorted(events, key=lambda event: event.event_id)


async def test_everything_that_stayed_pending_is_published_again(world: WorkerWorld) -> None:
    events = await committed(world, 40)
    world.clock.advance(AFTER_SECONDS)

    assert await reconciler(world).reconcile() == 40

    assert by_id(published(world)) == by_id(events)


async def test_the_message_is_the_one_that_ingress_publishes(world: WorkerWorld) -> None:
    (event,) = await committed(world, 1)
    world.clock.advance(AFTER_SECONDS)

    await reconciler(world).reconcile()

    assert world.topic.published == [forward_message.encode(event)]


async def test_what_is_young_settled_or_in_work_is_left_alone(world: WorkerWorld) -> None:
    settled, claimed = await committed(world, 2)
    await world.ledger.settle_delivered([Attempt(settled.event_id, 1, 0, None, "http_202", 202, ())])
    world.clock.advance(AFTER_SECONDS)
    await world.ledger.claim([claimed.event_id], token="at-work", seconds=60)
    await committed(world, 1)

    assert await reconciler(world).reconcile() == 0

    assert world.topic.published == []


async def test_of_a_shard_the_oldest_come_first(world: WorkerWorld) -> None:
    events = await committed(world, 30, shard=7)
    world.clock.advance(AFTER_SECONDS)

    await reconciler(world).reconcile()

    assert published(world) == events


async def test_a_backlog_beyond_one_batch_is_republished_in_one_round_and_once(world: WorkerWorld) -> None:
    events = await committed(world, BATCH_EVENTS + 5, shard=7)
    world.clock.advance(AFTER_SECONDS)

    assert await reconciler(world).reconcile() == BATCH_EVENTS + 5

    assert published(world) == events
    assert world.topic.failures.count("publish") == 2


async def test_what_was_republished_waits_before_it_is_again(world: WorkerWorld) -> None:
    await committed(world, 3)
    world.clock.advance(AFTER_SECONDS)
    mine = reconciler(world)

    rounds = [await mine.reconcile(), await mine.reconcile()]
    for _ in range(2):
        world.clock.advance(AFTER_SECONDS * 5 + 1)
        rounds.append(await mine.reconcile())

    assert rounds == [3, 0, 0, 3]


async def test_a_lost_note_costs_a_second_copy_and_nothing_else(world: WorkerWorld) -> None:
    (event,) = await committed(world, 1)
    world.clock.advance(AFTER_SECONDS)
    world.ledger.failures.fail_next("note_republished", StorageUnavailableError("down"))
    with pytest.raises(StorageUnavailableError):
        await reconciler(world).reconcile()
    await reconciler(world).reconcile()

    await world.forwarding.forward(await world.pull())

    assert len(world.topic.published) == 2
    assert world.forwarder.taken == {event.event_id: 1}


async def test_nothing_is_noted_as_republished_that_was_not(world: WorkerWorld) -> None:
    (event,) = await committed(world, 1)
    world.clock.advance(AFTER_SECONDS)
    world.topic.failures.fail_next("publish", PublishFailedError("down"))

    with pytest.raises(PublishFailedError):
        await reconciler(world).reconcile()

    assert world.row(event.event_id).republished_at is None


async def test_the_rate_is_bounded(world: WorkerWorld) -> None:
    await committed(world, 20, shard=7)
    await committed(world, 20, shard=8)
    world.clock.advance(AFTER_SECONDS)
    started = anyio.current_time()

    await reconciler(world, events_per_second=400).reconcile()

    assert anyio.current_time() - started >= 40 / 400


async def test_two_at_once_lose_nothing_and_nothing_is_sent_twice(world: WorkerWorld) -> None:
    events = await committed(world, 50)
    world.clock.advance(AFTER_SECONDS)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(reconciler(world).reconcile)
        tasks.start_soon(reconciler(world).reconcile)
    await world.forwarding.forward(await world.pull())

    assert world.forwarder.taken == {event.event_id: 1 for event in events}


@pytest.mark.parametrize(
    ("fail", "error"),
    [
        (lambda world: world.topic.failures, PublishFailedError("down")),
        (lambda world: world.ledger.failures, StorageUnavailableError("down")),
    ],
    ids=["Pub/Sub", "Spanner"],
)
async def test_it_backs_off_while_something_is_down_and_then_catches_up(
    world: WorkerWorld, fail: Callable[[WorkerWorld], object], error: EventLoggingError
) -> None:
    events = await committed(world, 3, shard=7)
    world.clock.advance(AFTER_SECONDS)
    rng = FixedRandom(0.5)
    failures = world.topic.failures if isinstance(error, PublishFailedError) else world.ledger.failures
    assert fail(world) is failures
    call = "publish" if isinstance(error, PublishFailedError) else "pending"
    failures.fail_next(call, error, times=3, when=When.BEFORE)
    started = anyio.current_time()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(reconciler(world, rng=rng).run_for_ever)
        await eventually(lambda: len(world.topic.published) == 3)
        tasks.cancel_scope.cancel()

    assert published(world) == events
    # Pauses of one, two, four and eight intervals before the round that succeeds.
    assert anyio.current_time() - started >= 15 * INTERVAL_SECONDS


async def test_pauses_are_jittered_by_half(world: WorkerWorld) -> None:
    rng = FixedRandom(0.5)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(reconciler(world, rng=rng).run_for_ever)
        await eventually(lambda: len(rng.bounds) >= 3)
        tasks.cancel_scope.cancel()

    assert set(rng.bounds) == {(0.5, 1.5)}


async def test_a_row_of_which_no_event_can_be_made_is_dead_lettered_once_and_spoils_nothing(world: WorkerWorld) -> None:
    (good,) = await committed(world, 1)
    bad = sample_event("")  # only a hand or a bug can write it: the ingress refuses a blank name
    await world.repository.append([sample_row(bad)])
    for _ in range(2):
        world.clock.advance(AFTER_SECONDS * 2)
        await reconciler(world).reconcile()

    (letter,) = world.dead_letter_topic.published
    assert letter.attributes["dead_letter_reason"] == "undecodable"
    assert letter.attributes["event_id"] == bad.event_id
    assert world.row(bad.event_id).state == "DEAD"
    assert {event.event_id for event in published(world)} == {good.event_id}
