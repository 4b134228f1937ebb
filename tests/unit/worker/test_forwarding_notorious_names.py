"""Event names whose events keep failing alone: new events of such a name are set aside before they are sent."""

from collections.abc import Iterator

import pytest
import stamina

from tests.support.fakes.forwarding_batches import forward_all, trial
from tests.support.fakes.scripted_forwarder import SERVER_ERROR, UNAVAILABLE
from tests.support.fakes.worker_world import TickingClock, WorkerWorld
from worker.disposition import Disposition
from worker.poison import NOTORIOUS_AT


@pytest.fixture(autouse=True)
def no_backoff() -> Iterator[None]:
    with stamina.set_testing(True, attempts=1):
        yield


@pytest.fixture
async def world() -> WorkerWorld:
    return WorkerWorld()


@pytest.fixture
async def ticking() -> WorkerWorld:
    return WorkerWorld(clock=TickingClock())


async def test_events_whose_name_is_notorious_step_aside_without_being_claimed(world: WorkerWorld) -> None:
    for _ in range(NOTORIOUS_AT):
        world.poison.failed_alone("bad")
    await world.log(2, "bad")
    (good,) = await world.log(1, "good")
    messages = await world.pull()
    world.journal.clear()

    decided = await world.forwarding.forward(messages)

    assert list(decided.values()).count(Disposition.SET_ASIDE_UNTRIED) == 2
    assert world.forwarder.requests == [[good.event_id]]
    assert {row.not_before for row in world.store.ledger.values()} == {None}
    assert world.journal.count("claim") == 1


async def test_a_trial_of_a_notorious_name_is_made_and_its_confirmation_restores_the_name(world: WorkerWorld) -> None:
    for _ in range(NOTORIOUS_AT):
        world.poison.failed_alone("bad")
    await world.log(1, "bad")

    assert await trial(world) is Disposition.ACK

    assert not world.poison.is_notorious("bad")


async def test_events_of_one_name_that_keep_failing_alone_make_it_notorious(ticking: WorkerWorld) -> None:
    bad = await ticking.log(NOTORIOUS_AT, "bad")
    ticking.forwarder.on_send = ticking.circuit.confirmed  # in another lane
    ticking.forwarder.spoilers = {event.event_id for event in bad}
    ticking.forwarder.spoiling = SERVER_ERROR
    await forward_all(ticking)
    ticking.forwarder.requests.clear()
    await ticking.log(3, "bad")
    await ticking.log(3, "good")

    decided = await forward_all(ticking)

    assert decided[-6:] == [Disposition.SET_ASIDE_UNTRIED] * 3 + [Disposition.ACK] * 3
    assert sum(map(len, ticking.forwarder.requests)) == 3


async def test_an_outage_makes_no_name_notorious(world: WorkerWorld) -> None:
    await world.log(20)
    world.forwarder.always = UNAVAILABLE

    await forward_all(world)

    assert not world.poison.is_notorious("order_paid")
