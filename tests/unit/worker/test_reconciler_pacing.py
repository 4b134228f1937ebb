"""The reconciler's pace: rests while the circuit is open, its rate, its pauses, and an operator's forced round."""

from collections import Counter

import anyio
import pytest
import structlog

from shared.errors import EventLoggingError, PublishFailedError, StorageUnavailableError
from shared.events.forward_ledger import DEFAULT_SHARDS
from tests.support.eventually import eventually
from tests.support.fakes.reconciling import AFTER_SECONDS, HOUR, INTERVAL_SECONDS, OLD_SECONDS, ReconcilingWorld
from tests.support.fakes.worker_world import FixedRandom
from worker.reconciler import PAGE_EVENTS, SAMPLE_EVENTS


@pytest.fixture
async def world() -> ReconcilingWorld:
    return ReconcilingWorld()


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

    monkeypatch.setattr("worker.reconciler.SAMPLE_INTERVAL_SECONDS", 0.0)

    assert await mine.reconcile() == SAMPLE_EVENTS
    assert len({event.event_id for event in world.published}) == SAMPLE_EVENTS


async def test_a_round_that_runs_ends_with_the_page_where_it_is_to_rest(world: ReconcilingWorld) -> None:
    await world.committed(PAGE_EVENTS * 3, shard=7)
    world.clock.advance(OLD_SECONDS)
    mine = world.reconciler(is_resting=lambda: bool(world.topic.published))

    assert await mine.reconcile() == PAGE_EVENTS
    assert {row.republished for row in world.rows()} == {0, 1}


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


async def test_a_long_round_logs_what_it_republished_before_its_end(
    world: ReconcilingWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.committed(2 * PAGE_EVENTS + 5, shard=7)
    world.clock.advance(OLD_SECONDS)

    with structlog.testing.capture_logs() as at_the_end:
        await world.reconciler().reconcile()
    monkeypatch.setattr("worker.reconciler.LOG_SECONDS", 0.0)
    world.clock.advance(HOUR)
    with structlog.testing.capture_logs() as by_page:
        await world.reconciler().reconcile()

    assert [line["events"] for line in at_the_end] == [2 * PAGE_EVENTS + 5]
    assert [line["events"] for line in by_page] == [PAGE_EVENTS, PAGE_EVENTS, 5]


async def test_rows_whose_messages_are_still_to_come_are_left_alone(world: ReconcilingWorld) -> None:
    """A backlog that is older than the first interval: a second message of each row would be claimed in vain."""
    (passed,) = await world.committed(1)
    world.clock.advance(OLD_SECONDS)
    reached = world.clock.now()
    world.clock.advance(1)
    (to_come,) = await world.committed(1)
    world.clock.advance(OLD_SECONDS)
    mine = world.reconciler(reached=lambda: reached)

    assert await mine.reconcile() == 1
    assert world.published_ids == [passed.event_id]

    reached = world.clock.now()
    assert await mine.reconcile() == 1
    assert world.published_ids == [passed.event_id, to_come.event_id]


async def test_a_message_that_the_reconciler_published_is_waited_for_too(world: ReconcilingWorld) -> None:
    await world.committed(1)
    world.clock.advance(OLD_SECONDS)
    reached = world.clock.now()
    mine = world.reconciler(reached=lambda: reached)
    assert await mine.reconcile() == 1

    world.clock.advance(AFTER_SECONDS + 1)
    assert await mine.reconcile() == 0
    reached = world.clock.now()
    world.clock.advance(10 * AFTER_SECONDS + 1)
    assert await mine.reconcile() == 1


async def test_no_row_is_left_alone_for_more_than_an_hour_because_its_message_is_to_come(
    world: ReconcilingWorld,
) -> None:
    """Neither one that was never republished nor one whose second message is lost, wherever the worker stands."""
    reached = world.clock.now()
    world.clock.advance(1)
    await world.committed(1)
    mine = world.reconciler(reached=lambda: reached)
    world.clock.advance(HOUR - 5)
    assert await mine.reconcile() == 0

    for expected in (1, 2):
        world.clock.advance(10)
        assert await mine.reconcile() == 1
        assert len(world.published) == expected
        for _ in range(int(HOUR / AFTER_SECONDS) - 1):  # a round a minute, each of which may postpone it
            world.clock.advance(AFTER_SECONDS)
            assert await mine.reconcile() == 0
        world.clock.advance(AFTER_SECONDS)
