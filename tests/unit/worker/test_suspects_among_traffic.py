"""Suspects among good events, with everything else of a worker."""

from collections import Counter
from collections.abc import Callable, Iterable
from itertools import takewhile

import anyio
import pytest

from shared.events.forward_ledger import ForwardState
from tests.support.eventually import eventually
from tests.support.fakes.scripted_forwarder import REJECTED, SERVER_ERROR, UNAVAILABLE
from tests.support.fakes.worker_world import PROBE_SECONDS, TickingClock, WorkerWorld
from worker.poison import ALLOWANCE, NOTORIOUS_AT

pytestmark = pytest.mark.usefixtures("short_waits")


@pytest.fixture
async def worker() -> WorkerWorld:
    return WorkerWorld(clock=TickingClock())


async def traffic_until(
    world: WorkerWorld, condition: Callable[[], object], *, step_seconds: float = 1.0, steps: int = 6000
) -> list[str]:
    """Let time pass in steps, each with a good event, until the condition holds. Returns the good events' ids.

    Fails after so many steps.
    """
    good: list[str] = []
    for _ in range(steps):
        if condition():
            return good
        world.clock.advance(step_seconds)
        good += [event.event_id for event in await world.log(1, "traffic")]
        await anyio.sleep(0.003)
    assert condition(), f"did not come true within {steps} steps of {step_seconds:g} s"
    return good


def all_are(world: WorkerWorld, event_ids: Iterable[str], state: ForwardState) -> bool:
    return all(world.row(event_id).state == state for event_id in event_ids)


@pytest.mark.parametrize("bad_name", ["bad", "good"])
async def test_many_bad_events_that_come_first_and_alone_hold_up_no_good_ones_and_are_all_dead_lettered(
    worker: WorkerWorld, bad_name: str
) -> None:
    bad = {event.event_id for event in await worker.log(400, bad_name)}
    worker.forwarder.spoilers = bad
    worker.forwarder.on_send = lambda: worker.clock.advance(0.01)

    async with worker.running(lanes=2):
        await eventually(lambda: worker.circuit.open_reason)
        assert len(worker.dead_letters()) <= ALLOWANCE
        before = len(worker.forwarder.requests)
        good = [event.event_id for event in await worker.log(600, "good")]
        if bad_name != "good":
            await worker.time_passes_until(
                lambda: all_are(worker, good, ForwardState.DELIVERED), step_seconds=PROBE_SECONDS
            )
            failed_before = list(takewhile(lambda request: set(request) <= bad, worker.forwarder.requests[before:]))
            assert len(failed_before) <= 10
        await traffic_until(worker, lambda: all_are(worker, bad, ForwardState.DEAD))
        await traffic_until(worker, lambda: all_are(worker, good, ForwardState.DELIVERED))

    assert Counter(worker.dead_letters()) == Counter((event_id, "http_400") for event_id in bad)
    assert sum(worker.row(event_id).possible_duplicates for event_id in [*bad, *good]) == 0
    assert max(worker.forwarder.taken.values()) == 1


@pytest.mark.parametrize("name", ["poisoned", "good"])
async def test_a_few_events_that_always_draw_500_are_found_and_dead_lettered_beside_good_traffic(
    worker: WorkerWorld, name: str
) -> None:
    good = [event.event_id for event in await worker.log(250, "good")]
    bad = {event.event_id for event in await worker.log(5, name)}
    good += [event.event_id for event in await worker.log(245, "good")]
    worker.forwarder.spoilers, worker.forwarder.spoiling = bad, SERVER_ERROR

    async with worker.running(lanes=2):
        good += await traffic_until(worker, lambda: all_are(worker, good, ForwardState.DELIVERED), step_seconds=0.2)
        assert worker.dead_letters() == []
        good += await traffic_until(worker, lambda: all_are(worker, bad, ForwardState.DEAD))
        await traffic_until(worker, lambda: all_are(worker, good, ForwardState.DELIVERED))

    assert Counter(worker.dead_letters()) == Counter((event_id, "exhausted") for event_id in bad)
    rows = [worker.row(event_id) for event_id in bad]
    assert {row.alone_failures for row in rows} == {6}
    for event_id, copies in worker.forwarder.taken.items():
        assert copies <= 1 + worker.row(event_id).possible_duplicates


async def test_a_poisoned_event_that_is_alone_is_found_once_others_come(worker: WorkerWorld) -> None:
    (bad,) = [event.event_id for event in await worker.log(1, "poisoned")]
    worker.forwarder.spoilers, worker.forwarder.spoiling = {bad}, SERVER_ERROR

    async with worker.running(lanes=2):
        await worker.time_passes_until(lambda: worker.circuit.open_reason)
        for _ in range(50):
            worker.clock.advance(1)
            await anyio.sleep(0.002)
        assert (worker.row(bad).state, worker.row(bad).alone_failures) == (ForwardState.PENDING, 0)
        good = await traffic_until(worker, lambda: worker.row(bad).state == ForwardState.DEAD)
        await traffic_until(worker, lambda: all_are(worker, good, ForwardState.DELIVERED))

    assert worker.dead_letters() == [(bad, "exhausted")]


async def test_an_outage_in_the_middle_dead_letters_no_suspect(worker: WorkerWorld) -> None:
    (bad,) = [event.event_id for event in await worker.log(1, "flaky")]
    worker.forwarder.spoilers, worker.forwarder.spoiling = {bad}, SERVER_ERROR

    async with worker.running(lanes=2):
        await traffic_until(worker, lambda: worker.row(bad).alone_failures == 2)
        worker.forwarder.always = UNAVAILABLE
        worker.forwarder.spoilers = set()  # it was the same all the time
        await worker.log(3, "traffic")
        await worker.time_passes_until(lambda: worker.circuit.open_reason)
        for _ in range(500):
            worker.clock.advance(1)
            await anyio.sleep(0.002)
        assert worker.row(bad).alone_failures <= 3
        worker.forwarder.always = None
        await worker.time_passes_until(
            lambda: worker.row(bad).state == ForwardState.DELIVERED, step_seconds=1, steps=10_000
        )

    assert worker.dead_letters() == []


async def test_an_api_that_changed_brings_no_name_into_disrepute(worker: WorkerWorld) -> None:
    worker.forwarder.always = REJECTED
    await worker.log(100, "good")

    async with worker.running(lanes=2):
        await eventually(lambda: worker.circuit.open_reason)
        await worker.time_passes_until(lambda: len(worker.forwarder.requests) > 60)
        assert not worker.poison.is_notorious("good")
        worker.forwarder.always = None
        await worker.time_passes_until(lambda: not worker.subscription.backlog, step_seconds=2, steps=10_000)

    assert len(worker.dead_letters()) <= ALLOWANCE
    assert worker.states().count(ForwardState.DELIVERED) == 100 - len(worker.dead_letters())


@pytest.mark.usefixtures("short_takes")
async def test_what_was_set_aside_for_its_name_goes_with_others_once_one_is_confirmed(worker: WorkerWorld) -> None:
    """Alone, at a few a second, hundreds of events would wait for minutes after one bad moment."""
    for _ in range(NOTORIOUS_AT):
        worker.poison.failed_alone("moody")
    moody = [event.event_id for event in await worker.log(400, "moody")]
    worker.forwarder.always = SERVER_ERROR  # until all of them are set aside

    async with worker.running(lanes=2):
        await eventually(lambda: len(worker.suspects) >= 390)
        worker.forwarder.always = None
        # In small steps: with 20 ms of real time a lane looks again, and trials go by this clock.
        await worker.time_passes_until(lambda: all_are(worker, moody, ForwardState.DELIVERED), step_seconds=0.02)

    assert len(worker.forwarder.requests) < 100
    assert len(worker.suspects) == 0
