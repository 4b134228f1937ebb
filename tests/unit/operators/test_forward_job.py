"""`nest-events forward` on the fakes: no event is lost, and a retry after a lost answer publishes what it admitted."""

from collections.abc import Sequence
from datetime import timedelta

import anyio
import pytest

from shared.errors import PublishFailedError, StorageUnavailableError
from shared.events import forward_message
from shared.events.event import Event
from shared.events.forward_ledger import ForwardState
from shared.events.late_forward_ledger import Admission, StoredChoice, StoredEvent
from tests.support.eventually import eventually
from tests.support.fakes.manual_clock import ManualClock
from tests.support.fakes.memory_event_log import MemoryEventLogRepository, MemoryStore
from tests.support.fakes.memory_late_forward_ledger import MemoryLateForwardLedger
from tests.support.fakes.memory_pubsub import MemoryTopic
from tests.support.fakes.scripted_failures import ScriptedFailures, When
from tests.support.sample_events import sample_event, sample_row
from worker.operators import forward_job
from worker.operators.forward_job import LateForwarding
from worker.operators.forward_outcomes import Outcome, forecast, outcome_of

FAST = 1e9
HOUR = timedelta(hours=1)


class World:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.store = MemoryStore(self.clock)
        self.journal: list[str] = []
        self.ledger = MemoryLateForwardLedger(self.store, failures=ScriptedFailures(self.journal))
        self.topic = MemoryTopic(self.clock, failures=ScriptedFailures(self.journal))
        self.done = 0

    async def store_only(self, count: int, *, name: str = "order_paid") -> list[Event]:
        events = [sample_event(name) for _ in range(count)]
        await MemoryEventLogRepository(self.store).append([sample_row(event, forward=False) for event in events])
        return events

    def forwarding(self, *, events_per_second: float = FAST, limit: int | None = None) -> LateForwarding:
        return LateForwarding(ledger=self.ledger, topic=self.topic, events_per_second=events_per_second, limit=limit)

    async def forward(self, forwarding: LateForwarding | None = None) -> dict[Outcome, int]:
        run = forwarding or self.forwarding()
        await run.forward(self.choice(), self._advance)
        return {outcome: count for outcome, count in run.counts.items() if count}

    def choice(self) -> StoredChoice:
        now = self.clock.now()
        return StoredChoice(since=now - HOUR, until=now + HOUR)

    def _advance(self, count: int) -> None:
        self.done += count

    @property
    def published(self) -> list[str]:
        return sorted(forward_message.decode(message.data).event_id for message in self.topic.published)

    @property
    def pending(self) -> list[str]:
        return sorted(event_id for event_id, row in self.store.ledger.items() if row.state == "PENDING")


def ids(events: Sequence[Event]) -> list[str]:
    return sorted(event.event_id for event in events)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(forward_job, "PATIENCE_SECONDS", 0.5)
    return World()


@pytest.mark.parametrize(
    ("name", "state", "outcome"),
    [
        ("order_paid", None, Outcome.FORWARDED),
        ("order_paid", ForwardState.PENDING, Outcome.ALREADY),
        ("a[b]", None, Outcome.NAME_DROPPED),
        ("a[b]", ForwardState.DELIVERED, Outcome.ALREADY),
    ],
)
def test_the_outcome_is_foreseen_by_the_name_and_the_ledger(
    name: str, state: ForwardState | None, outcome: Outcome
) -> None:
    assert forecast(StoredEvent(ManualClock().now(), "e", name, state)) is outcome


@pytest.mark.parametrize(
    ("found", "is_retried", "outcome"),
    [
        (Admission.ADMITTED, False, Outcome.FORWARDED),
        (Admission.PENDING, False, Outcome.ALREADY),
        (Admission.PENDING, True, Outcome.FORWARDED),
        (Admission.SETTLED, True, Outcome.ALREADY),
        (Admission.TOO_OLD, False, Outcome.TOO_OLD),
        (Admission.UNREADABLE, False, Outcome.UNREADABLE),
        (Admission.MISSING, False, Outcome.MISSING),
    ],
)
def test_the_outcome_is_what_was_found(found: Admission, is_retried: bool, outcome: Outcome) -> None:
    assert outcome_of(found, is_retried=is_retried) is outcome


async def test_it_admits_and_then_publishes_and_a_second_run_finds_nothing_left(world: World) -> None:
    events = await world.store_only(3)
    await world.store_only(2, name="a[b]")

    first = await world.forward()
    steps = [step for step in world.journal if step in ("admit", "publish")]
    second = await world.forward()

    assert first == {Outcome.FORWARDED: 3, Outcome.NAME_DROPPED: 2}
    assert steps[:2] == ["admit", "publish"]
    assert second == {Outcome.ALREADY: 3, Outcome.NAME_DROPPED: 2}
    assert world.published == world.pending == ids(events)
    assert world.done == 3


async def test_beyond_the_limit_it_sends_nothing_and_counts_what_is_left(world: World) -> None:
    await world.store_only(10)

    outcomes = await world.forward(world.forwarding(limit=4))

    assert outcomes == {Outcome.FORWARDED: 4, Outcome.LEFT: 6}
    assert len(world.published) == 4
    assert world.pending == world.published


async def test_all_pages_of_a_shard_are_read(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forward_job, "PAGE_EVENTS", 2)
    events = await world.store_only(150)

    assert await world.forward() == {Outcome.FORWARDED: 150}
    assert world.published == ids(events)


async def test_a_publish_that_fails_leaves_the_events_pending_for_the_reconciler(world: World) -> None:
    (event,) = await world.store_only(1)
    world.topic.failures.fail_next("publish", PublishFailedError("down"))
    forwarding = world.forwarding()

    with pytest.raises(PublishFailedError):
        await world.forward(forwarding)

    assert world.pending == [event.event_id]
    assert forwarding.counts.total() == 0


@pytest.mark.parametrize("call", ["stored", "admit"])
async def test_a_short_absence_of_spanner_does_not_end_it(world: World, call: str) -> None:
    await world.store_only(1)
    world.ledger.failures.fail_next(call, StorageUnavailableError("away"))

    assert await world.forward() == {Outcome.FORWARDED: 1}


async def test_what_was_admitted_by_a_try_whose_answer_was_lost_is_published(world: World) -> None:
    events = await world.store_only(2)
    world.ledger.failures.fail_next("admit", StorageUnavailableError("lost"), when=When.AFTER)

    assert await world.forward() == {Outcome.FORWARDED: 2}
    assert world.published == ids(events)


async def test_of_two_runs_at_once_one_has_each_event(world: World) -> None:
    events = await world.store_only(100)
    both = [world.forwarding(events_per_second=10_000) for _ in range(2)]

    async with anyio.create_task_group() as tasks:
        for each in both:
            tasks.start_soon(world.forward, each)

    assert world.published == ids(events)
    assert sum(each.counts[Outcome.FORWARDED] for each in both) == 100
    assert sum(each.counts[Outcome.ALREADY] for each in both) == 100


async def test_when_it_is_cancelled_it_finishes_its_step(world: World) -> None:
    await world.store_only(50)
    forwarding = world.forwarding(events_per_second=8)
    publishing = world.topic.failures.hold("publish")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(world.forward, forwarding)
        await eventually(lambda: world.topic.failures.waiting("publish"))
        tasks.cancel_scope.cancel()
        publishing.set()

    assert world.published == world.pending
    assert forwarding.counts[Outcome.FORWARDED] == len(world.published)
    assert 0 < len(world.published) < 50
