"""What `nest-events tail` reads on the emulator: each event once, in every state, and never silently cut."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

import anyio
import pytest

from shared.events.event import Event
from shared.events.forward_ledger import ForwardState
from shared.spanner.event_log import LOG_TABLE
from shared.spanner.late_forward_ledger import SpannerLateForwardLedger
from shared.spanner.replay_ledger import SpannerReplayLedger
from tests.support.emulators.seeded_events import SeededEvents
from worker.operators.events.tail import Tail
from worker.operators.events.tail_events import Batch, TailChoice, TailState

pytestmark = pytest.mark.emulators


def tail_of(seeded: SeededEvents, *, shown: int = 200, watched: int = 10_000, **values: Any) -> Tail:
    choice = TailChoice(**values)
    return Tail(seeded.database, choice, shards=seeded.settings.forward_shards, shown=shown, watched=watched)


def ids(batch: Batch) -> list[str]:
    return [event.event_id for event in batch.events]


def ids_of(events: list[Event]) -> list[str]:
    return [event.event_id for event in events]


async def test_events_are_told_once_as_they_are_accepted_with_the_state_that_they_have(seeded: SeededEvents) -> None:
    await seeded.log(2)
    tail = tail_of(seeded)
    nothing = await tail.next()
    (stored,) = await seeded.log(1, forward=False)
    (pending,) = await seeded.log(1, caller="a@example.com")
    (delivered,) = await seeded.log(1)
    await seeded.settle_delivered([delivered])
    (dead,) = await seeded.log(1, name="signed_up")
    await seeded.settle_dead([dead], "http_400", 400)

    batch = await tail.next()
    after = await tail.next()

    assert (nothing.events, after.events) == ((), ())
    assert [(each.event_id, each.state, each.reason) for each in batch.events] == [
        (stored.event_id, TailState.STORED_ONLY, None),
        (pending.event_id, TailState.PENDING, None),
        (delivered.event_id, TailState.DELIVERED, "http_202"),
        (dead.event_id, TailState.DEAD, "http_400"),
    ]
    assert [(each.event_name, each.caller) for each in batch.events[1::2]] == [
        ("order_paid", "a@example.com"),
        ("signed_up", "caller@example.com"),
    ]
    assert nothing.until < batch.events[0].at < batch.events[-1].at <= batch.until


@pytest.mark.parametrize("state", [None, *ForwardState])
async def test_each_filter_chooses_in_each_state(seeded: SeededEvents, state: ForwardState | None) -> None:
    filters: list[dict[str, Any]] = [
        {"event_name": "order_paid"},
        {"name_prefix": "order_"},
        {"caller": "a@example.com"},
    ]
    tails = [tail_of(seeded, state=state, **values) for values in filters]
    for tail in tails:
        await tail.next()
    chosen = await seeded.log(2, name="order_paid", caller="a@example.com")
    others = await seeded.log(2, name="signed_up", caller="b@example.com")
    if state is ForwardState.DEAD:
        await seeded.settle_dead([*chosen, *others], "http_400", 400)
    elif state is ForwardState.DELIVERED:
        await seeded.settle_delivered([*chosen, *others])

    for tail in tails:
        assert sorted(ids(await tail.next())) == sorted(ids_of(chosen))


async def test_events_are_told_when_they_die(seeded: SeededEvents) -> None:
    events = await seeded.log(3)
    await seeded.settle_dead(events[:1], "http_413", 413)
    tail = tail_of(seeded, state=ForwardState.DEAD)
    await tail.next()
    await seeded.settle_dead(events[1:2], "http_400", 400)

    (died,), nothing = (await tail.next()).events, await tail.next()

    assert (died.event_id, died.state, died.reason) == (events[1].event_id, TailState.DEAD, "http_400")
    assert died.event_name == "order_paid"
    assert nothing.events == ()


async def test_events_are_told_when_they_become_pending_be_it_again_or_late(seeded: SeededEvents) -> None:
    (dead,), (stored,) = await seeded.log(1), await seeded.log(1, forward=False)
    await seeded.settle_dead([dead], "http_400", 400)
    tail = tail_of(seeded, state=ForwardState.PENDING)
    await tail.next()
    (fresh,) = await seeded.log(1)
    first = await tail.next()
    await SpannerReplayLedger(seeded.ledger.transactions, timeout_seconds=20).reopen([dead.event_id], max_replays=3)
    second = await tail.next()
    await SpannerLateForwardLedger(seeded.ledger.transactions, timeout_seconds=20).admit([stored.event_id])
    third = await tail.next()

    assert [ids(each) for each in (first, second, third)] == [[fresh.event_id], [dead.event_id], [stored.event_id]]
    assert [each.reason for each in second.events] == ["http_400"]
    assert {each.state for batch in (first, second, third) for each in batch.events} == {TailState.PENDING}


async def test_events_are_told_when_they_are_delivered_those_of_the_last_minute_included(seeded: SeededEvents) -> None:
    early, before = await seeded.log(2)
    await seeded.settle_delivered([before])
    tail = tail_of(seeded, state=ForwardState.DELIVERED)
    await tail.next()
    late, slow, dead = await seeded.log(3)
    await seeded.settle_delivered([late])
    await seeded.settle_dead([dead], "http_400", 400)
    first = await tail.next()
    await seeded.settle_delivered([early, slow])
    second, third = await tail.next(), await tail.next()

    assert ids(first) == [late.event_id]
    assert sorted(ids(second)) == sorted([early.event_id, slow.event_id])
    assert {each.state for each in [*first.events, *second.events]} == {TailState.DELIVERED}
    assert third.events == ()
    assert (first.unwatched, second.unwatched) == (0, 0)


async def test_a_set_of_awaited_events_that_overflows_says_so(seeded: SeededEvents) -> None:
    tail = tail_of(seeded, state=ForwardState.DELIVERED, watched=3)
    await tail.next()
    events = await seeded.log(5)
    await seeded.log(5, forward=False)  # not awaited
    first = await tail.next()
    more = await seeded.log(2)
    second = await tail.next()
    await seeded.settle_delivered([*events, *more])
    third = await tail.next()

    assert (first.unwatched, second.unwatched, third.unwatched) == (2, 2, 0)
    assert len(third.events) == 3
    assert set(ids_of(more)) < set(ids(third))


@pytest.mark.parametrize("state", [None, ForwardState.DEAD, ForwardState.PENDING, ForwardState.DELIVERED])
async def test_what_is_more_than_a_batch_shows_is_counted_exactly(
    seeded: SeededEvents, state: ForwardState | None
) -> None:
    tail = tail_of(seeded, state=state, shown=4)
    await tail.next()
    events = [*await seeded.log(30), *await seeded.log(4)]
    if state is ForwardState.DEAD:
        await seeded.settle_dead(events, "http_400", 400)
    elif state is ForwardState.DELIVERED:
        await seeded.settle_delivered(events)

    batch = await tail.next()

    assert (len(batch.events), batch.left_out) == (4, 30)
    if state is None:
        assert sorted(ids(batch)) == sorted(ids_of(events[30:])), "the latest are shown"


async def test_no_event_is_missed_or_told_twice_while_others_are_committed(seeded: SeededEvents) -> None:
    tail = tail_of(seeded)
    await tail.next()
    committed: list[str] = []
    told: list[str] = []

    async def commit() -> None:
        for _ in range(15):
            committed.extend(ids_of(await seeded.log(2)))

    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(commit)
        while len(committed) < 90:
            told += ids(await tail.next())
    told += ids(await tail.next())

    assert sorted(told) == sorted(committed)


async def set_ingested_at(seeded: SeededEvents, event: Event, at: datetime) -> None:
    async with seeded.database.batch() as batch:
        batch.update(LOG_TABLE, ("event_id", "ingested_at"), [(event.event_id, at)])


async def test_an_event_of_the_moment_at_which_a_look_ended_belongs_to_that_look_alone(seeded: SeededEvents) -> None:
    (event,) = await seeded.log(1)
    tail = tail_of(seeded)
    ended = (await tail.next()).until
    await set_ingested_at(seeded, event, ended)
    at_the_end = await tail.next()
    await set_ingested_at(seeded, event, at_the_end.until)

    assert at_the_end.events == (await tail.next()).events == ()


class Meanwhile:
    """A database in which something is committed between a look's question for the time and its next read."""

    def __init__(self, database: Any, act: Callable[[], Awaitable[None]]) -> None:
        self._database = database
        self._act = act
        self.snapshots = 0

    @asynccontextmanager
    async def snapshot(self, **options: Any) -> AsyncIterator[Any]:
        self.snapshots += 1
        if self.snapshots == 2:
            await self._act()
        async with self._database.snapshot(**options) as snapshot:
            yield snapshot


async def test_a_look_tells_how_everything_was_at_one_moment(seeded: SeededEvents) -> None:
    events: list[Event] = []

    async def settle() -> None:
        await seeded.settle_delivered(events)

    database = Meanwhile(seeded.database, settle)
    tail = Tail(database, TailChoice(), shards=seeded.settings.forward_shards)
    await tail.next()
    events += await seeded.log(1)
    database.snapshots = 0

    batch = await tail.next()

    assert (await seeded.states())[events[0].event_id] == ("DELIVERED", 0)
    assert [each.state for each in batch.events] == [TailState.PENDING]
