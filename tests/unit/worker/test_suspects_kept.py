"""Which messages the suspects keep: how many, one of each event, and what becomes of untried ones."""

from dataclasses import replace

import pytest

from tests.support.eventually import eventually
from tests.support.fakes.suspects_world import BACKOFF, SuspectsWorld, checked
from worker.disposition import Disposition
from worker.poison import NOTORIOUS_AT
from worker.suspects import MAX_SUSPECTS

pytestmark = pytest.mark.usefixtures("short_waits")

NAME = "order_paid"
"""The name of every event here."""


def notorious(world: SuspectsWorld) -> None:
    for _ in range(NOTORIOUS_AT):
        world.poison.failed_alone(NAME)


@pytest.fixture
async def world() -> SuspectsWorld:
    return SuspectsWorld()


async def test_no_more_wait_than_there_is_room_for_and_the_rest_is_given_back(
    world: SuspectsWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.suspects.MAX_SUSPECTS", 3)
    assert MAX_SUSPECTS > 3
    messages = await world.held(5)

    await world.suspects.add(messages[:2])
    await world.suspects.add(messages[2:])

    assert len(world.suspects) == 3
    assert world.leases.leased() == messages[:3]


async def test_untried_messages_take_part_in_the_room_and_in_the_turns(
    world: SuspectsWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.suspects.MAX_SUSPECTS", 3)
    notorious(world)
    messages = await world.held(5)
    await world.suspects.add_untried(messages[:1])
    world.clock.advance(0.001)
    await world.suspects.add(messages[1:2])
    world.clock.advance(0.001)
    await world.suspects.add_untried(messages[2:])
    assert (len(world.suspects), world.leases.leased()) == (3, messages[:3])

    async with world.trying():
        await eventually(lambda: len(world.subscription.acknowledged) == 3)

    assert [message_id for message_id, _ in world.tried] == ["1", "2", "3"]


async def test_an_untried_message_that_fails_its_trial_is_a_suspect_like_any_other(world: SuspectsWorld) -> None:
    notorious(world)
    world.disposition = Disposition.SET_ASIDE
    await world.suspects.add_untried(await world.held())

    async with world.trying():
        await eventually(lambda: len(world.tried) == 1)
        world.poison.confirmed(NAME)
        await checked()

        assert world.suspects.take_restored(10) == []
        await world.time_passes_until(lambda: len(world.tried) == 2)

    first, second = world.times()
    assert second - first >= BACKOFF


async def test_an_untried_message_whose_trial_is_held_stays_untried(world: SuspectsWorld) -> None:
    notorious(world)
    world.disposition = Disposition.HOLD
    messages = await world.held()
    await world.suspects.add_untried(messages)

    async with world.trying():
        await eventually(lambda: len(world.tried) == 1)
        await checked()
        assert len(world.tried) == 1, "not before its pause is over"
        world.poison.confirmed(NAME)

        assert world.suspects.take_restored(10) == messages


@pytest.mark.parametrize("is_untried", [False, True])
async def test_of_an_event_one_message_is_kept_and_its_copies_are_acked(world: SuspectsWorld, is_untried: bool) -> None:
    """The reconciler makes more of them, for as long as the event is pending."""
    notorious(world)
    add = world.suspects.add_untried if is_untried else world.suspects.add
    (event,) = await world.log(1)
    await world.publish([event] * 2)
    first, *copies = await world.pull()
    world.leases.add([first, *copies])
    await add([first])
    await add(copies)

    assert (len(world.suspects), world.leases.leased()) == (1, [first])
    assert len(world.subscription.acknowledged) == 2
    world.disposition = Disposition.NACK
    async with world.trying():
        await eventually(lambda: len(world.tried) == 1)
        await eventually(lambda: not len(world.suspects))
    assert world.leases.leased() == [], "it is given back, and may come again"
    await world.publish([event])
    (again,) = [each for each in await world.pull() if each.message_id != first.message_id]
    await add([again])
    assert len(world.suspects) == 1


async def test_a_redelivery_of_the_message_that_is_kept_is_not_acked(world: SuspectsWorld) -> None:
    """It would not come again if the process died."""
    (message,) = await world.held()
    await world.suspects.add([message])
    redelivered = replace(message, ack_id="another")
    world.leases.add([redelivered])

    await world.suspects.add([redelivered])

    assert world.subscription.acknowledged == []
    assert (len(world.suspects), world.leases.leased()) == (1, [message])


async def test_what_went_back_to_the_lanes_may_be_set_aside_again(world: SuspectsWorld) -> None:
    notorious(world)
    messages = await world.held(2)
    await world.suspects.add_untried(messages)
    world.poison.confirmed(NAME)
    assert world.suspects.take_restored(10) == messages

    await world.suspects.add(messages)

    assert len(world.suspects) == 2
    assert world.subscription.acknowledged == []
