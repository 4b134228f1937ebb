"""Lanes while Statsig or Spanner is away: probes, held messages and pauses."""

from collections import Counter

import anyio
import pytest

from shared.errors import StorageUnavailableError
from shared.events.forward_ledger import ForwardState
from tests.support.eventually import eventually
from tests.support.fakes.running_worker import extended, probes
from tests.support.fakes.scripted_forwarder import REFUSED, REJECTED, UNAVAILABLE, UNREACHABLE
from tests.support.fakes.worker_world import PROBE_SECONDS, TickingClock, WorkerWorld
from worker.poison import ALLOWANCE
from worker.statsig.outcome import SendOutcome

pytestmark = pytest.mark.usefixtures("short_waits")

DOWN = StorageUnavailableError("down")


@pytest.fixture
async def world() -> WorkerWorld:
    return WorkerWorld(clock=TickingClock())


async def test_what_could_not_be_sent_is_kept_and_tried_again_without_a_delivery_more() -> None:
    world = WorkerWorld(budget_seconds=0)
    world.random.share = 0.5
    (event,) = await world.log(1)
    world.forwarder.script.append(UNREACHABLE)

    async with world.running():
        await eventually(lambda: not world.subscription.backlog)

    assert world.row(event.event_id).attempts == 2
    assert world.subscription.failures.count("nack") == 0


async def test_while_the_circuit_is_open_nothing_is_pulled_before_a_probe(world: WorkerWorld) -> None:
    world.open_circuit()
    await world.log(3)

    async with world.running(lanes=3):
        await anyio.wait_all_tasks_blocked()
        assert world.subscription.backlog == {"1": 0, "2": 0, "3": 0}

    assert world.subscription.failures.count("pull") == 0


async def test_a_probe_is_one_event_and_its_success_brings_the_rest(world: WorkerWorld) -> None:
    world.open_circuit()
    await world.log(30)

    async with world.running(lanes=2):
        await probes(world)
        await eventually(lambda: not world.subscription.backlog)

    assert len(world.forwarder.requests[0]) == 1
    assert world.circuit.open_reason is None
    assert set(world.forwarder.taken.values()) == {1}


@pytest.mark.parametrize("answer", [UNREACHABLE, REFUSED, UNAVAILABLE], ids=lambda answer: answer.reason)
async def test_an_outage_costs_no_delivery_attempt_no_lease_and_no_event(
    world: WorkerWorld, answer: SendOutcome
) -> None:
    await world.log(30)
    world.forwarder.always = answer

    async with world.running(lanes=2):
        await eventually(lambda: world.circuit.open_reason)
        for _ in range(5):
            await extended(world)
            await probes(world)
            assert world.subscription.backlog == {str(number): 1 for number in range(1, 31)}
            assert len(world.subscription.leased) == 30
        world.forwarder.always = None
        await probes(world)
        await eventually(lambda: not world.subscription.backlog)

    assert world.states() == [ForwardState.DELIVERED] * 30
    assert world.dead_letters() == []
    for event_id, copies in world.forwarder.taken.items():
        assert copies == 1 + world.row(event_id).possible_duplicates


async def test_a_long_outage_spreads_its_probes_over_all_events_and_holds_them_all(world: WorkerWorld) -> None:
    await world.log(20)
    world.forwarder.always = UNAVAILABLE

    async with world.running(lanes=2):
        await eventually(lambda: world.circuit.open_reason)
        world.forwarder.requests.clear()
        await probes(world, 40)
        sent = Counter(event_id for request in world.forwarder.requests[:40] for event_id in request)
        assert {len(request) for request in world.forwarder.requests} == {1}
        assert len(sent) == 20
        assert max(sent.values()) <= 3
        assert world.dead_letters() == []
        assert len(world.suspects) == 0
        world.forwarder.always = None
        await world.time_passes_until(lambda: not world.subscription.backlog)

    assert world.states() == [ForwardState.DELIVERED] * 20


async def test_fresh_messages_are_pulled_for_probes(world: WorkerWorld) -> None:
    """What was pulled before may be all bad: one that comes later must be able to close the circuit."""
    (bad,) = await world.log(1, "bad")
    world.forwarder.spoilers, world.forwarder.spoiling = {bad.event_id}, UNAVAILABLE

    async with world.running():
        await world.time_passes_until(lambda: world.circuit.open_reason)
        (good,) = await world.log(1, "good")
        await world.time_passes_until(lambda: world.circuit.open_reason is None, step_seconds=PROBE_SECONDS)
        await eventually(lambda: world.row(good.event_id).state == ForwardState.DELIVERED)

    assert world.row(bad.event_id).state == ForwardState.PENDING
    assert world.dead_letters() == []


async def test_when_no_more_can_be_held_some_are_given_back_for_fresh_ones(
    world: WorkerWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.held_messages.MAX_HELD_MESSAGES", 10)
    monkeypatch.setattr("worker.held_messages.ROTATED_MESSAGES", 3)
    bad = await world.log(10, "bad")
    world.forwarder.spoilers, world.forwarder.spoiling = {event.event_id for event in bad}, UNAVAILABLE

    async with world.running(batch_messages=10):
        await world.time_passes_until(lambda: len(world.held_messages) == 10)
        assert world.circuit.open_reason is not None
        good = await world.log(2, "good")
        await world.time_passes_until(
            lambda: all(world.row(event.event_id).state == ForwardState.DELIVERED for event in good),
            step_seconds=PROBE_SECONDS,
        )

    assert world.dead_letters() == []


async def test_no_pull_ever_asks_for_nothing(world: WorkerWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pub/Sub refuses it. One pull can bring far more bytes than there was room for."""
    monkeypatch.setattr("worker.held_messages.MAX_HELD_BYTES", 1000)
    monkeypatch.setattr("worker.held_messages.ROTATED_MESSAGES", 3)
    asked: list[int] = []
    real_pull = world.subscription.pull

    async def pull(*, max_messages: int, wait_seconds: float = 1.0) -> list[object]:
        asked.append(max_messages)
        return list(await real_pull(max_messages=max_messages, wait_seconds=wait_seconds))

    monkeypatch.setattr(world.subscription, "pull", pull)
    await world.log(30)
    world.forwarder.always = UNAVAILABLE

    async with world.running():
        await eventually(lambda: world.circuit.open_reason)
        await probes(world, 3)

    assert min(asked) > 0


async def test_rejections_of_everything_dead_letter_only_a_few_also_by_probes_and_trials(world: WorkerWorld) -> None:
    """An API that changed must not empty a backlog into the dead-letter topic."""
    await world.log(100, "one")
    await world.log(100, "other")
    world.forwarder.always = REJECTED

    async with world.running(lanes=2):
        await eventually(lambda: world.circuit.open_reason)
        await probes(world, 60)
        for _ in range(20):
            world.clock.advance(20)
            await anyio.sleep(0.01)
        assert len(world.dead_letters()) == ALLOWANCE
        world.forwarder.always = None  # and what was not is delivered once Statsig takes it
        await world.time_passes_until(lambda: not world.subscription.backlog, step_seconds=2)

    assert world.states().count(ForwardState.DELIVERED) == 200 - ALLOWANCE
    assert sum(row.possible_duplicates for row in world.store.ledger.values()) == 0


async def test_while_spanner_is_away_nothing_is_given_back_and_the_lane_pauses(world: WorkerWorld) -> None:
    await world.log(10)
    world.ledger.failures.fail_until_mended("claim", DOWN)

    async with world.running():
        await eventually(lambda: world.ledger.failures.count("claim") > 10)
        assert world.circuit.open_reason is None
        assert world.subscription.backlog == {str(number): 1 for number in range(1, 11)}
        assert world.subscription.failures.count("pull") == 1 + world.pulls  # what is held comes first
        world.ledger.failures.mend()
        await eventually(lambda: not world.subscription.backlog)

    assert world.subscription.failures.count("nack") == 0
    assert set(world.forwarder.taken.values()) == {1}


async def test_claims_that_fail_pause_the_lane_with_doubling_bounds(
    world: WorkerWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.stoppable_waits.LONGEST_PAUSE_SECONDS", 0.008)
    bounds: list[float] = []

    def uniform(_: float, bound: float) -> float:
        bounds.append(bound)
        return 0.0

    monkeypatch.setattr("worker.stoppable_waits.random.uniform", uniform)
    await world.log(1)
    world.ledger.failures.fail_next("claim", DOWN, times=6)

    async with world.running():
        await eventually(lambda: not world.subscription.backlog)
        world.ledger.failures.fail_next("claim", DOWN)
        await world.log(1)
        await eventually(lambda: not world.subscription.backlog)

    assert bounds == pytest.approx([0.001, 0.002, 0.004, 0.008, 0.008, 0.008, 0.001])


async def test_an_outage_of_statsig_is_no_setback_of_the_lane(
    world: WorkerWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.stoppable_waits.FIRST_PAUSE_SECONDS", 1e6)
    monkeypatch.setattr("worker.stoppable_waits.LONGEST_PAUSE_SECONDS", 1e6)
    await world.log(3)
    world.forwarder.always = UNAVAILABLE

    async with world.running():
        await probes(world, 6)
