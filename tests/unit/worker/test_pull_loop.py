"""Lanes: what they pull, acknowledge, nack and keep."""

from collections.abc import Sequence

import anyio
import pytest

from shared.errors import StorageUnavailableError, SubscriptionUnavailableError
from shared.events.forward_ledger import ForwardState
from tests.support.eventually import eventually
from tests.support.fakes.running_worker import extended
from tests.support.fakes.worker_world import TickingClock, WorkerWorld
from worker.disposition import Disposition
from worker.poison import NOTORIOUS_AT
from worker.subscription import ReceivedMessage

pytestmark = pytest.mark.usefixtures("short_waits")

UNAVAILABLE_SUBSCRIPTION = SubscriptionUnavailableError("down")

DOWN = StorageUnavailableError("down")


@pytest.fixture
async def world() -> WorkerWorld:
    return WorkerWorld(clock=TickingClock())


async def test_what_is_logged_is_sent_settled_and_acknowledged(world: WorkerWorld) -> None:
    events = await world.log(5)

    async with world.running():
        await eventually(lambda: not world.subscription.backlog)

    assert world.states() == [ForwardState.DELIVERED] * 5
    assert world.forwarder.taken == {event.event_id: 1 for event in events}


async def test_what_a_lane_takes_tells_how_far_the_worker_has_come_and_what_is_only_pulled_does_not(
    world: WorkerWorld,
) -> None:
    first = await world.log(1)
    world.clock.advance(60)
    await world.log(1)
    world.forwarder.failures.hold("send")

    async with world.running(batch_messages=1):
        await eventually(lambda: world.forwarder.failures.waiting("send"))
        await eventually(lambda: len(world.prefetcher) == 1)
        position = world.position.current
        world.forwarder.failures.mend()
        await eventually(lambda: not world.subscription.backlog)

    assert position is not None
    assert world.position.current is not None
    assert world.row(first[0].event_id).state == ForwardState.DELIVERED
    assert (world.position.current - position).total_seconds() == pytest.approx(60, abs=1)


async def test_of_a_batch_only_a_part_is_of_a_name_that_is_trusted_again(world: WorkerWorld) -> None:
    """It may have been restored by chance, and a batch of nothing else would fail as a whole."""
    restored = [event.event_id for event in await world.log(40, "restored")]
    untried = await world.pull()
    world.leases.add(untried)
    await world.suspects.add_untried(untried)
    fresh = [event.event_id for event in await world.log(80, "fresh")]

    async with world.running(batch_messages=16):
        await eventually(lambda: all(world.row(each).state == ForwardState.DELIVERED for each in restored + fresh))

    first = world.forwarder.requests[0]
    assert 1 <= len(set(first) & set(restored)) <= 2
    assert len(world.suspects) == 0


async def test_nothing_is_acknowledged_before_it_is_settled(world: WorkerWorld) -> None:
    await world.log(2)

    async with world.running():
        await eventually(lambda: not world.subscription.backlog)

    wanted = ["claim", "send", "settle_delivered", "acknowledge"]
    assert [call for call in world.journal if call not in {"extend", "pull"}][:4] == wanted


async def test_what_could_not_be_settled_is_kept_until_the_process_stops_and_not_acknowledged(
    world: WorkerWorld,
) -> None:
    await world.log(2)
    world.ledger.failures.fail_until_mended("settle_delivered", DOWN)

    async with world.running():
        await eventually(lambda: world.forwarder.confirmed and world.ledger.failures.count("settle_delivered") > 3)
        assert len(world.subscription.leased) == 2

    assert world.subscription.acknowledged == []
    assert set(world.subscription.backlog.values()) == {1}
    assert world.subscription.leased == set()


async def test_what_is_left_for_later_comes_again_after_the_backoff(world: WorkerWorld) -> None:
    (event,) = await world.log(1)
    await world.ledger.claim([event.event_id], token="another's", seconds=5)

    async with world.running():
        await eventually(lambda: world.subscription.failures.count("nack"))
        assert world.forwarder.requests == []
        world.clock.advance(world.subscription.minimum_backoff_seconds)
        await eventually(lambda: not world.subscription.backlog)

    assert world.row(event.event_id).attempts == 1


async def test_a_suspect_is_kept_leased_while_others_are_forwarded(world: WorkerWorld) -> None:
    await world.log(3, "bad")
    for _ in range(NOTORIOUS_AT):
        world.poison.failed_alone("bad")
    world.forwarder.failures.hold("send")  # of the trials

    async with world.running():
        await eventually(lambda: world.forwarder.failures.waiting("send") == 3)
        await extended(world)
        assert world.subscription.leased == {"1", "2", "3"}
        world.forwarder.failures.mend()
        await eventually(lambda: not world.subscription.backlog)

    assert [len(request) for request in world.forwarder.requests] == [1, 1, 1]


async def test_as_many_lanes_work_as_there_are_turns(world: WorkerWorld) -> None:
    world.forwarder.failures.hold("send")

    async with world.running(lanes=5, batch_messages=1):
        await world.log(5)
        await eventually(lambda: world.forwarder.failures.waiting("send") == 2)
        await anyio.wait_all_tasks_blocked()
        assert world.forwarder.failures.waiting("send") == 2
        world.forwarder.failures.mend()
        await eventually(lambda: not world.subscription.backlog)


async def test_a_lane_that_waits_long_lends_its_turn_while_others_are_confirmed(
    world: WorkerWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.lane_turns.SLOW_BATCH_SECONDS", 0.02)
    world.forwarder.failures.hold("send")

    async with world.running(lanes=5, batch_messages=1):
        await world.log(5)
        await eventually(lambda: world.forwarder.failures.waiting("send") == 2)
        await anyio.sleep(0.1)
        assert world.forwarder.failures.waiting("send") == 2  # it is Statsig that hangs
        world.circuit.confirmed()
        await eventually(lambda: world.forwarder.failures.waiting("send") > 2)
        world.forwarder.failures.mend()
        await eventually(lambda: not world.subscription.backlog)


async def test_a_failing_pull_is_tried_again(world: WorkerWorld) -> None:
    await world.log(1)
    world.subscription.failures.fail_next("pull", UNAVAILABLE_SUBSCRIPTION, times=5)

    async with world.running():
        await eventually(lambda: not world.subscription.backlog)

    assert world.subscription.failures.count("pull") >= 6


async def test_a_failed_acknowledgement_is_made_good_without_sending_again(world: WorkerWorld) -> None:
    (event,) = await world.log(1)
    world.subscription.failures.fail_next("acknowledge", UNAVAILABLE_SUBSCRIPTION)

    async with world.running():
        await eventually(lambda: world.subscription.failures.count("acknowledge") == 1)
        world.clock.advance(60)
        await eventually(lambda: not world.subscription.backlog)

    assert world.forwarder.taken[event.event_id] == 1


async def test_a_batch_with_a_message_that_was_not_decided_is_nacked_and_the_lane_goes_on(
    world: WorkerWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = world.forwarding.forward
    calls: list[int] = []

    async def forgets_one(messages: Sequence[ReceivedMessage]) -> dict[str, Disposition]:
        calls.append(len(messages))
        decided = await forward(messages)
        return {} if len(calls) == 1 else decided

    monkeypatch.setattr(world.forwarding, "forward", forgets_one)
    await world.log(1)

    async with world.running():
        await eventually(lambda: world.subscription.failures.count("nack"))
        world.clock.advance(world.subscription.minimum_backoff_seconds)
        await eventually(lambda: not world.subscription.backlog)

    assert len(calls) == 2


async def test_a_crash_gives_its_batch_back_and_the_lane_goes_on(world: WorkerWorld) -> None:
    await world.log(1)
    world.forwarder.failures.fail_next("send", RuntimeError("a bug"))

    async with world.running():
        await eventually(lambda: world.subscription.failures.count("nack"))
        await world.log(1)
        await eventually(lambda: len(world.subscription.acknowledged) == 1)

    assert world.states() == [ForwardState.PENDING, ForwardState.DELIVERED]
