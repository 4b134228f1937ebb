"""Sending that is cut short: by a cancellation, or by a claim that ends while the spoiler of a batch is looked for."""

import anyio
import pytest

from shared.forward_ledger import Entry, Standing
from shared.statsig_projection import StatsigEvent
from tests.support.eventually import eventually
from tests.support.worker_world import WorkerWorld
from worker.sending import Sent
from worker.statsig_outcome import Verdict

FAR = 1e9
ATTEMPT_SECONDS = 20.0
"""Of WorkerWorld."""


def batch(count: int) -> list[StatsigEvent]:
    return [StatsigEvent(f"e-{number}", "paid", None, {}, 0) for number in range(count)]


def account_of(events: list[StatsigEvent]) -> Sent:
    return Sent.starting_from([Entry(event.event_id, Standing.CLAIMED) for event in events])


@pytest.fixture
async def world() -> WorkerWorld:
    return WorkerWorld()


async def test_a_cancelled_attempt_is_noted_as_a_possible_duplicate(world: WorkerWorld) -> None:
    events, failures = batch(2), world.forwarder.failures
    sent = account_of(events)
    failures.hold("send")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: world.sending.send(events, sent, deadline=FAR))
        await eventually(lambda: failures.waiting("send"))
        tasks.cancel_scope.cancel()

    for noted in sent.attempts(["e-0", "e-1"]):
        assert (noted.attempts, noted.possible_duplicates, noted.reason) == (1, 1, "interrupted")
        assert noted.last_attempt_at == world.clock.now()
        assert [(entry.at, entry.verdict, entry.reason) for entry in noted.history] == [
            (world.clock.now(), "ambiguous", "interrupted")
        ]
    assert sent.with_verdict(Verdict.CONFIRMED) == []


async def test_what_was_confirmed_before_a_search_was_cancelled_stays_confirmed(world: WorkerWorld) -> None:
    """Its outcome is known: to send it again would be a duplicate without need."""
    events, failures = batch(4), world.forwarder.failures
    sent = account_of(events)
    world.forwarder.spoilers = {"e-3"}

    def hold_the_third() -> None:
        if len(world.forwarder.requests) == 3:
            failures.hold("send")

    world.forwarder.on_send = hold_the_third
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: world.sending.send(events, sent, deadline=FAR))
        await eventually(lambda: failures.waiting("send"))
        tasks.cancel_scope.cancel()

    assert world.forwarder.requests == [["e-0", "e-1", "e-2", "e-3"], ["e-0", "e-1"], ["e-2", "e-3"]]
    assert sent.with_verdict(Verdict.CONFIRMED) == ["e-0", "e-1"]
    assert [noted.possible_duplicates for noted in sent.attempts(["e-0", "e-1"])] == [0, 0]


async def test_looking_for_spoilers_ends_with_the_claim(world: WorkerWorld) -> None:
    """Each halving is another request: with slow answers they outlast any claim, and another worker sends too."""
    events = batch(64)
    sent = account_of(events)
    world.forwarder.spoilers = {"e-0", "e-20", "e-40", "e-60"}
    began: list[float] = []

    def slow_answer() -> None:
        began.append(world.clock.monotonic())
        world.clock.advance(ATTEMPT_SECONDS / 2)

    world.forwarder.on_send = slow_answer
    deadline = world.clock.monotonic() + 80

    await world.sending.send(events, sent, deadline=deadline)

    assert max(began) + ATTEMPT_SECONDS <= deadline
