"""Sending that is cut short: by a cancellation, or by a claim that ends while the spoiler of a batch is looked for."""

from collections.abc import Sequence

import anyio
import pytest

from shared.events.forward_ledger import ClaimOutcome, ClaimResult
from shared.events.statsig_projection import StatsigEvent
from tests.support.eventually import eventually
from tests.support.fakes.scripted_forwarder import UNAVAILABLE
from tests.support.fakes.worker_world import ATTEMPT_SECONDS, WorkerWorld
from worker.accounts import BatchAttempts
from worker.delivery import Delivery
from worker.statsig.outcome import SendVerdict

FAR = 1e9


def batch(count: int) -> list[StatsigEvent]:
    return [StatsigEvent(f"e-{number}", "paid", None, {}, 0) for number in range(count)]


def delivery_of(events: Sequence[StatsigEvent], *, deadline: float = FAR) -> Delivery:
    async def note(event_ids: Sequence[str]) -> set[str]:
        return set(event_ids)

    async def confirmed(_: Sequence[str]) -> None:
        pass

    accounts = BatchAttempts.starting_from([ClaimResult(event.event_id, ClaimOutcome.CLAIMED) for event in events])
    return Delivery(accounts=accounts, deadline=deadline, note=note, confirmed=confirmed)


async def cancelled_in_request(world: WorkerWorld, events: Sequence[StatsigEvent], number: int) -> BatchAttempts:
    delivery = delivery_of(events)

    def hold_that_one() -> None:
        if len(world.forwarder.requests) == number:
            world.forwarder.failures.hold("send")

    world.forwarder.on_send = hold_that_one
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(world.sending.send, events, delivery)
        await eventually(lambda: world.forwarder.failures.waiting("send"))
        tasks.cancel_scope.cancel()
    return delivery.accounts


@pytest.fixture
async def world() -> WorkerWorld:
    return WorkerWorld()


async def test_a_cancelled_attempt_is_noted_as_a_possible_duplicate(world: WorkerWorld) -> None:
    accounts = await cancelled_in_request(world, batch(2), 1)

    for noted in accounts.attempts(["e-0", "e-1"]):
        assert (noted.attempts, noted.possible_duplicates, noted.reason) == (1, 1, "interrupted")
        assert noted.last_attempt_at == world.clock.now()
        assert [(entry.at, entry.verdict, entry.reason) for entry in noted.history] == [
            (world.clock.now(), "ambiguous", "interrupted")
        ]
    assert accounts.with_verdict(SendVerdict.CONFIRMED) == []


async def test_a_cancelled_attempt_is_counted_beside_those_before_it(world: WorkerWorld) -> None:
    world.forwarder.script.append(UNAVAILABLE)

    accounts = await cancelled_in_request(world, batch(1), 2)

    (noted,) = accounts.attempts(["e-0"])
    assert (noted.attempts, noted.possible_duplicates) == (2, 2)
    assert [entry.reason for entry in noted.history] == ["http_503", "interrupted"]


async def test_what_was_confirmed_before_a_search_was_cancelled_stays_confirmed(world: WorkerWorld) -> None:
    """Its outcome is known: to send it again would be a duplicate without need."""
    world.forwarder.spoilers = {"e-3"}

    accounts = await cancelled_in_request(world, batch(4), 4)

    assert world.forwarder.requests == [["e-0", "e-1", "e-2", "e-3"], ["e-0"], ["e-1"], ["e-2"], ["e-3"]]
    assert accounts.with_verdict(SendVerdict.CONFIRMED) == ["e-0"]
    # The others were in flight together when it ended.
    assert [noted.possible_duplicates for noted in accounts.attempts(["e-0", "e-1", "e-2", "e-3"])] == [0, 1, 1, 1]


async def test_looking_for_spoilers_ends_with_the_claim(world: WorkerWorld) -> None:
    """Each part is another request: with slow answers they outlast any claim, and another worker sends too."""
    events = batch(64)
    world.forwarder.spoilers = {"e-0", "e-20", "e-40", "e-60"}
    began: list[float] = []

    def slow_answer() -> None:
        began.append(world.clock.monotonic())
        world.clock.advance(ATTEMPT_SECONDS / 2)

    world.forwarder.on_send = slow_answer
    deadline = world.clock.monotonic() + 80
    delivery = delivery_of(events, deadline=deadline)

    await world.sending.send(events, delivery)

    assert len(began) > 1
    assert max(began) + ATTEMPT_SECONDS <= deadline
    assert len(delivery.accounts.with_verdict(SendVerdict.CONFIRMED)) < 60
