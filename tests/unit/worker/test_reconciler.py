"""The reconciler: publishes again what stayed pending, oldest first, each row once an interval, at a bounded rate."""

import random
from collections import Counter

import anyio
import pytest

from shared.errors import EventLoggingError, PublishFailedError, StorageUnavailableError
from shared.events import forward_message
from shared.events.event import Event
from shared.events.forward_ledger import DEFAULT_SHARDS, DeliveryRecord
from shared.events.republish_ledger import Marked
from tests.support.eventually import eventually
from tests.support.fakes.reconciling import AFTER_SECONDS, INTERVAL_SECONDS, OLD_SECONDS, ReconcilingWorld
from tests.support.fakes.scripted_failures import When
from tests.support.fakes.worker_world import FixedRandom
from tests.support.sample_events import sample_event, sample_row
from worker.reconciler import INTERVAL_FACTORS, PAGE_EVENTS, SAMPLE_EVENTS

HOUR = 3600.0


@pytest.fixture
async def world() -> ReconcilingWorld:
    return ReconcilingWorld()


def by_id(events: list[Event]) -> list[Event]:
    return sorted(events, key=lambda event: event.event_id)


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


async def test_it_rests_while_it_is_told_to(world: ReconcilingWorld) -> None:
    await world.committed(50)
    world.clock.advance(OLD_SECONDS)
    resting = True
    mine = world.reconciler(is_resting=lambda: resting)

    assert await mine.reconcile() == 0
    assert (world.topic.published, world.republishing.failures.journal) == ([], [])
    resting = False

    assert await mine.reconcile() == 50


async def test_while_it_rests_the_oldest_of_some_shards_are_published_now_and_then(
    world: ReconcilingWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the circuit probes with may be bad events only, and a good one's message lost."""
    for shard in range(SAMPLE_EVENTS + 3):
        await world.committed(2, shard=shard)
    world.clock.advance(OLD_SECONDS)
    mine = world.reconciler(is_resting=lambda: True)
    assert await mine.reconcile() == 0  # not yet

    monkeypatch.setattr("worker.reconciler.SAMPLE_SECONDS", 0.0)

    assert await mine.reconcile() == SAMPLE_EVENTS
    assert len({event.event_id for event in world.published}) == SAMPLE_EVENTS


async def test_a_round_that_runs_ends_with_the_page_where_it_is_to_rest(world: ReconcilingWorld) -> None:
    await world.committed(PAGE_EVENTS * 3, shard=7)
    world.clock.advance(OLD_SECONDS)
    mine = world.reconciler(is_resting=lambda: bool(world.topic.published))

    assert await mine.reconcile() == PAGE_EVENTS
    assert {row.republished for row in world.rows()} == {0, 1}


async def test_a_mark_of_which_the_answer_is_lost_costs_an_interval(world: ReconcilingWorld) -> None:
    (event,) = await world.committed(1)
    world.clock.advance(OLD_SECONDS)
    world.republishing.failures.fail_next("mark_republished", StorageUnavailableError("down"), when=When.AFTER)
    mine = world.reconciler()
    with pytest.raises(StorageUnavailableError):
        await mine.reconcile()

    assert await mine.reconcile() == 0
    world.clock.advance(OLD_SECONDS)
    assert await mine.reconcile() == 1

    assert world.published_ids == [event.event_id]


@pytest.mark.parametrize("call", ["unpublished", "mark_republished"])
async def test_nothing_is_passed_over_by_a_page_that_failed(world: ReconcilingWorld, call: str) -> None:
    events = await world.committed(PAGE_EVENTS * 2, shard=7)
    world.clock.advance(OLD_SECONDS)
    mine = world.reconciler()
    world.republishing.failures.fail_next(call, StorageUnavailableError("down"))
    with pytest.raises(StorageUnavailableError):
        await mine.reconcile()

    await mine.reconcile()

    assert Counter(world.published_ids) == {event.event_id: 1 for event in events}


async def test_a_page_that_fails_leaves_the_other_shards_their_round(world: ReconcilingWorld) -> None:
    await world.committed(5, shard=7)
    await world.committed(5, shard=8)
    world.clock.advance(OLD_SECONDS)
    world.republishing.failures.fail_next("mark_republished", StorageUnavailableError("down"))

    with pytest.raises(StorageUnavailableError):
        await world.reconciler().reconcile()

    assert len(world.topic.published) == 5


async def test_what_could_not_be_published_is_put_back_and_published_next(world: ReconcilingWorld) -> None:
    events = await world.committed(5, shard=7)
    world.clock.advance(OLD_SECONDS)
    world.topic.failures.fail_until_mended("publish", PublishFailedError("down"))
    mine = world.reconciler()
    with pytest.raises(PublishFailedError):
        await mine.reconcile()
    assert {(row.republished, row.republished_at) for row in world.rows()} == {(0, None)}
    world.topic.failures.mend()

    assert await mine.reconcile() == 5

    assert by_id(world.published) == by_id(events)
    assert {row.republished for row in world.rows()} == {1}


async def test_another_process_publishes_what_one_could_not(world: ReconcilingWorld) -> None:
    await world.committed(5, shard=7)
    world.clock.advance(OLD_SECONDS)
    dies, lives = world.reconciler(), world.reconciler()
    gate = world.topic.failures.hold("publish")
    world.topic.failures.fail_next("publish", PublishFailedError("down"), times=3)
    async with anyio.create_task_group() as tasks:

        async def first() -> None:
            with pytest.raises(PublishFailedError):
                await dies.reconcile()

        tasks.start_soon(first)
        await eventually(lambda: world.topic.failures.waiting("publish"))
        assert await lives.reconcile() == 0, "they are marked; and now it has looked at them"
        gate.set()

    assert await lives.reconcile() == 5


async def test_where_putting_back_fails_too_the_rows_come_back_with_their_interval(world: ReconcilingWorld) -> None:
    await world.committed(5, shard=7)
    world.clock.advance(OLD_SECONDS)
    world.topic.failures.fail_next("publish", PublishFailedError("down"), times=3)
    world.republishing.failures.fail_next("put_back", StorageUnavailableError("down"))
    mine = world.reconciler()
    with pytest.raises(PublishFailedError):
        await mine.reconcile()

    assert await mine.reconcile() == 0
    world.clock.advance(OLD_SECONDS)
    assert await mine.reconcile() == 5


async def test_an_outage_of_pubsub_costs_few_requests_a_round(world: ReconcilingWorld) -> None:
    await world.committed(500)
    world.clock.advance(OLD_SECONDS)
    world.topic.failures.fail_until_mended("publish", PublishFailedError("down"))

    with pytest.raises(PublishFailedError):
        await world.reconciler().reconcile()

    assert world.topic.failures.count("publish") <= DEFAULT_SHARDS + 2


class Picky:
    """A topic that refuses one event's message, and with it the request."""

    def __init__(self, world: ReconcilingWorld, event_id: str, error: Exception) -> None:
        self._topic = world.topic
        self._event_id = event_id
        self._error = error

    async def publish(self, messages: list[forward_message.OutgoingMessage]) -> None:
        if any(message.attributes["event_id"] == self._event_id for message in messages):
            raise self._error
        await self._topic.publish(messages)


@pytest.mark.parametrize("error", [PublishFailedError("refused"), RuntimeError("a bug")])
@pytest.mark.parametrize("place", [0, 3, 9])
async def test_a_message_that_is_refused_spoils_no_other(world: ReconcilingWorld, error: Exception, place: int) -> None:
    events = await world.committed(10, shard=7)
    world.clock.advance(OLD_SECONDS)
    bad = events.pop(place)
    world.topic, topic = Picky(world, bad.event_id, error), world.topic  # type: ignore[assignment]
    mine = world.reconciler()

    assert await mine.reconcile() == 9
    assert await mine.reconcile() == 0, "its time has not come"

    assert [message.attributes["event_id"] for message in topic.published] == [event.event_id for event in events]
    assert world.row(bad.event_id).republished == 1


async def test_a_row_that_trips_a_bug_is_skipped_and_the_rest_is_published(
    world: ReconcilingWorld, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    events = await world.committed(PAGE_EVENTS + 10, shard=7)
    world.clock.advance(OLD_SECONDS)
    bad = events[3].event_id
    mark = world.republishing.mark_republished

    async def trips(event_ids: list[str], *, intervals: list[float], force: bool = False) -> list[Marked]:
        if bad in event_ids:
            raise RuntimeError("a bug")
        return await mark(event_ids, intervals=intervals, force=force)

    monkeypatch.setattr(world.republishing, "mark_republished", trips)

    assert await world.reconciler().reconcile() == PAGE_EVENTS + 10 - 1

    assert set(world.published_ids) == {event.event_id for event in events} - {bad}
    out = capsys.readouterr().out
    assert "reconcile_crashed" in out
    assert "reconcile_row_skipped" in out
    assert bad in out


async def test_a_row_of_which_no_message_can_be_made_is_skipped(
    world: ReconcilingWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, good = await world.committed(2, shard=7)
    world.clock.advance(OLD_SECONDS)
    encode = forward_message.encode

    def trips(event: Event) -> forward_message.OutgoingMessage:
        if event.event_id == bad.event_id:
            raise RuntimeError("a bug")
        return encode(event)

    monkeypatch.setattr(forward_message, "encode", trips)

    assert await world.reconciler().reconcile() == 1
    assert world.published_ids == [good.event_id]


async def test_a_bug_in_a_shard_ends_neither_the_round_nor_the_next(
    world: ReconcilingWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.committed(3, shard=7)
    (other,) = await world.committed(1, shard=8)
    world.clock.advance(OLD_SECONDS)
    due_again = world.republishing.due_again

    async def trips(*, shard: int, limit: int) -> list[str]:
        if shard == 7:
            raise RuntimeError("a bug")
        return await due_again(shard=shard, limit=limit)

    with monkeypatch.context() as patched:
        patched.setattr(world.republishing, "due_again", trips)
        mine = world.reconciler()
        assert await mine.reconcile() == 1
        assert world.published_ids == [other.event_id]

    assert await mine.reconcile() == 3


async def test_no_bug_ends_the_worker(world: ReconcilingWorld, capsys: pytest.CaptureFixture[str]) -> None:
    await world.committed(3, shard=7)
    world.clock.advance(OLD_SECONDS)
    calls = 0

    def is_resting() -> bool:
        nonlocal calls
        calls += 1
        if calls < 3:
            raise RuntimeError("a bug")
        return False

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(world.reconciler(is_resting=is_resting).run_forever)
        await eventually(lambda: len(world.topic.published) == 3)
        tasks.cancel_scope.cancel()

    assert capsys.readouterr().out.count("reconcile_crashed") == 2


async def test_the_rate_is_bounded(world: ReconcilingWorld) -> None:
    await world.committed(20, shard=7)
    await world.committed(20, shard=8)
    world.clock.advance(OLD_SECONDS)
    started = anyio.current_time()

    await world.reconciler(events_per_second=400).reconcile()

    assert anyio.current_time() - started >= 40 / 400


@pytest.mark.parametrize(
    ("call", "error", "times"),
    [
        ("publish", PublishFailedError("down"), 3),
        ("unpublished", StorageUnavailableError("down"), DEFAULT_SHARDS * 3),
        ("due_again", StorageUnavailableError("down"), DEFAULT_SHARDS * 3),
    ],
)
async def test_it_backs_off_while_something_is_down_and_then_catches_up(
    world: ReconcilingWorld, call: str, error: EventLoggingError, times: int
) -> None:
    (event,) = await world.committed(1, shard=7)
    world.clock.advance(OLD_SECONDS)
    failures = world.topic.failures if call == "publish" else world.republishing.failures
    failures.fail_next(call, error, times=times)
    started = anyio.current_time()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(world.reconciler(rng=FixedRandom(0.5)).run_forever)
        await eventually(lambda: len(world.topic.published) == 1)
        tasks.cancel_scope.cancel()

    assert world.published == [event]
    # Pauses of one, two, four and eight intervals before the round that succeeds.
    assert anyio.current_time() - started >= 15 * INTERVAL_SECONDS


async def test_pauses_are_jittered_by_half(world: ReconcilingWorld) -> None:
    rng = FixedRandom(0.5)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(world.reconciler(rng=rng).run_forever)
        await eventually(lambda: len(rng.bounds) >= 3)
        tasks.cancel_scope.cancel()

    assert set(rng.bounds) == {(0.5, 1.5)}


async def test_an_operators_round_takes_what_is_not_due_yet_once(world: ReconcilingWorld) -> None:
    await world.committed(PAGE_EVENTS + 5, shard=7)
    (held,) = await world.committed(1, shard=7)
    await world.ledger.claim([held.event_id], token="at-work", seconds=HOUR)
    world.clock.advance(OLD_SECONDS)
    await world.reconciler().reconcile()
    pages: list[int] = []

    forced = world.reconciler(after_seconds=0.0, first_interval_seconds=60, force=True, on_page=pages.append)
    assert await forced.reconcile() == PAGE_EVENTS + 5

    assert set(Counter(world.published_ids).values()) == {2}
    assert sum(pages) == PAGE_EVENTS + 6
    assert await world.reconciler().reconcile() == 0, "the interval is that of a second time"
    world.clock.advance(AFTER_SECONDS * 10)
    assert await world.reconciler().reconcile() == PAGE_EVENTS + 5


@pytest.mark.parametrize("metadata_json", [None, "[]"], ids=["a blank name", "metadata that is no object"])
async def test_a_row_of_which_no_event_can_be_made_is_dead_lettered_once_and_spoils_nothing(
    world: ReconcilingWorld, metadata_json: str | None
) -> None:
    (good,) = await world.committed(1)
    # Only a hand or a bug can write it: the ingress refuses a blank name, and its metadata is an object.
    bad = sample_event("" if metadata_json is None else "order_paid")
    await world.repository.append([sample_row(bad, metadata_json=metadata_json)])
    for _ in range(2):
        world.clock.advance(AFTER_SECONDS * 2)
        await world.reconciler().reconcile()

    (letter,) = world.dead_letter_topic.published
    assert letter.attributes["dead_letter_reason"] == "undecodable"
    assert letter.attributes["event_id"] == bad.event_id
    assert world.row(bad.event_id).state == "DEAD"
    assert set(world.published_ids) == {good.event_id}


@pytest.mark.parametrize("call", ["claim", "settle_dead"])
async def test_what_could_not_be_buried_is_so_later(world: ReconcilingWorld, call: str) -> None:
    bad = sample_event("")
    await world.repository.append([sample_row(bad)])
    world.clock.advance(AFTER_SECONDS * 2)
    world.ledger.failures.fail_next(call, StorageUnavailableError("down"))
    mine = world.reconciler()
    with pytest.raises(StorageUnavailableError):
        await mine.reconcile()

    for _ in range(3):
        world.clock.advance(OLD_SECONDS)
        await mine.reconcile()

    assert world.row(bad.event_id).state == "DEAD"
