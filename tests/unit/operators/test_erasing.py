"""Erasing on the fakes: page by page, in spite of failures, and what is in flight when its claim has ended."""

from collections.abc import Iterator
from datetime import timedelta
from functools import partial

import anyio
import pytest
import stamina

from shared.errors import StorageUnavailableError
from shared.events.erasure import EventState
from shared.events.event import Event
from shared.events.forward_ledger import forward_shard
from tests.support.eventually import eventually
from tests.support.fakes.manual_clock import ManualClock
from tests.support.fakes.memory_erasure import MemoryErasure
from tests.support.fakes.memory_event_log import MemoryEventLogRepository, MemoryStore
from tests.support.fakes.memory_forward_ledger import MemoryForwardLedger
from tests.support.fakes.scripted_failures import When
from tests.support.sample_events import sample_event, sample_row
from worker.operators.erasure import erasing as module
from worker.operators.erasure.erasing import EVENTS_PER_PAGE, Counts, Erasing, counted

ACTOR = "actor-1"
CLAIM_SECONDS = 90.0
DOWN = StorageUnavailableError("down")


class World:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.store = MemoryStore(self.clock, shards=2)  # so that a shard has several pages
        self.ledger = MemoryForwardLedger(self.store)
        self.erasure = MemoryErasure(self.store)
        self.erasing = Erasing(self.erasure)

    async def log(self, count: int, actor_id: str = ACTOR, *, forward: bool = True) -> list[Event]:
        events = [sample_event(actor_id=actor_id) for _ in range(count)]
        await MemoryEventLogRepository(self.store).append([sample_row(event, forward=forward) for event in events])
        self.clock.advance(1)
        return events

    async def claim(self, events: list[Event]) -> None:
        ids = [event.event_id for event in events]
        await self.ledger.claim(ids, token="worker", seconds=CLAIM_SECONDS)

    async def erase(self, erasing: Erasing | None = None, actor_id: str = ACTOR) -> Counts:
        run = erasing or self.erasing
        await run.erase(actor_id, before=self.clock.now(), looked_at=lambda _: None)
        return run.counts

    @property
    def left(self) -> set[str]:
        return set(self.store.log)


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(module, "ASK_INTERVAL_SECONDS", 0.001)
    with stamina.set_testing(True, attempts=3):
        yield


@pytest.fixture
async def world() -> World:
    return World()


async def test_all_events_of_the_actor_are_erased_and_counted_and_no_others(world: World) -> None:
    began = world.clock.now()
    await world.log(2 * EVENTS_PER_PAGE, forward=False)
    others = await world.log(20, "actor-2")
    await world.log(EVENTS_PER_PAGE)
    looked_at: list[int] = []
    await world.erasing.erase(ACTOR, before=world.clock.now(), looked_at=looked_at.append)

    counts = world.erasing.counts
    assert world.left == {event.event_id for event in others}
    assert counts.states == {
        EventState.NOT_FORWARDED: 2 * EVENTS_PER_PAGE,
        EventState.PENDING: EVENTS_PER_PAGE,
    }
    assert (counts.events, counts.already_gone) == (3 * EVENTS_PER_PAGE, 0)
    assert (counts.oldest, counts.newest) == (began, began + timedelta(seconds=2))
    assert sum(looked_at) == 3 * EVENTS_PER_PAGE + 20
    assert world.erasing.in_flight == {}


async def test_no_transaction_has_more_events_than_a_page(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await world.log(3 * EVENTS_PER_PAGE)
    sizes: list[int] = []
    erase = world.erasure.erase

    async def seen(event_ids: list[str]) -> object:
        sizes.append(len(event_ids))
        return await erase(event_ids)

    monkeypatch.setattr(world.erasure, "erase", seen)
    await world.erase()

    assert sum(sizes) == 3 * EVENTS_PER_PAGE
    assert max(sizes) <= EVENTS_PER_PAGE


async def test_a_count_says_what_an_erasure_then_does_and_erases_nothing(world: World) -> None:
    await world.log(150)
    await world.claim(await world.log(3))

    before = await counted(world.erasure, ACTOR, before=world.clock.now())

    assert before.states == {EventState.PENDING: 150, EventState.IN_FLIGHT: 3}
    assert len(world.left) == 153
    await world.erase()
    world.clock.advance(CLAIM_SECONDS)
    await world.erasing.erase_in_flight(wait_seconds=5)
    assert world.erasing.counts == before


async def test_events_in_flight_are_erased_when_their_claim_has_ended(world: World) -> None:
    events = await world.log(5)
    await world.claim(events)
    await world.log(5)
    await world.erase()
    assert world.left == world.erasing.in_flight.keys() == {event.event_id for event in events}

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(partial(world.erasing.erase_in_flight, wait_seconds=5))
        await eventually(lambda: world.erasure.failures.count("erase") > 5)
        assert len(world.left) == 5
        world.clock.advance(CLAIM_SECONDS)

    assert world.left == set()
    assert world.erasing.in_flight == {}
    assert world.erasing.counts.states == {EventState.PENDING: 5, EventState.IN_FLIGHT: 5}


async def test_events_whose_claim_does_not_end_in_time_are_left(world: World) -> None:
    events = await world.log(5)
    await world.claim(events)
    await world.erase()

    await world.erasing.erase_in_flight(wait_seconds=0.05)

    assert world.left == world.erasing.in_flight.keys() == {event.event_id for event in events}
    assert world.erasing.counts.events == 0


@pytest.mark.parametrize("call", ["search", "erase"])
async def test_a_spanner_that_is_away_for_a_moment_costs_nothing(world: World, call: str) -> None:
    await world.log(10)
    world.erasure.failures.fail_next(call, DOWN, times=2)

    counts = await world.erase()

    assert (counts.events, world.left) == (10, set())


async def test_what_a_call_erased_whose_answer_was_lost_is_counted_as_gone(world: World) -> None:
    await world.log(1)
    world.erasure.failures.fail_next("erase", DOWN, when=When.AFTER)

    counts = await world.erase()

    assert (counts.already_gone, counts.events, world.left) == (1, 1, set())


async def test_after_a_failure_the_counts_say_how_far_it_came_and_another_run_does_the_rest(world: World) -> None:
    await world.log(500)
    pages = 0

    def fail_soon(_: int) -> None:
        nonlocal pages
        pages += 1
        if pages == 2:
            world.erasure.failures.fail_until_mended("erase", DOWN)

    with pytest.raises(StorageUnavailableError):
        await world.erasing.erase(ACTOR, before=world.clock.now(), looked_at=fail_soon)
    first = world.erasing.counts.events
    assert 0 < first < 500
    assert len(world.left) == 500 - first

    world.erasure.failures.mend()
    second = await world.erase(Erasing(world.erasure))

    assert (first + second.events, world.left) == (500, set())


async def test_an_interrupted_erasure_finishes_its_page(world: World) -> None:
    await world.log(10)
    gate = world.erasure.failures.hold("erase")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(world.erase)
        await eventually(lambda: world.erasure.failures.waiting("erase"))
        tasks.cancel_scope.cancel()
        gate.set()

    assert world.erasing.counts.events == 10 - len(world.left) > 0


async def test_while_the_search_goes_on_the_claims_that_were_taken_over_are_kept(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "KEEP_SECONDS", 0.0)
    sent = [event for event in await world.log(20) if forward_shard(event.event_id, shards=2) == 0]  # searched first
    await world.claim(sent)
    search = world.erasure.search
    steps = 0

    async def slow(*arguments: object, **options: object) -> object:
        nonlocal steps
        steps += 1
        world.clock.advance(60)  # in all longer than the worker's claim
        return await search(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(world.erasure, "search", slow)

    await world.erase()

    assert steps * 60 > CLAIM_SECONDS
    assert world.left == set(), "erased once the worker's claim had ended, and claimed by nobody in between"
