"""The reconciler when Spanner or Pub/Sub fails, or a bug raises: no row is passed over, no round is the last."""

from collections import Counter

import anyio
import pytest

from shared.errors import PublishFailedError, StorageUnavailableError
from shared.events.forward_ledger import DEFAULT_SHARDS
from tests.support.eventually import eventually
from tests.support.fakes.reconciling import OLD_SECONDS, ReconcilingWorld, by_id
from tests.support.fakes.scripted_failures import When
from worker.reconciler import PAGE_EVENTS


@pytest.fixture
async def world() -> ReconcilingWorld:
    return ReconcilingWorld()


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
