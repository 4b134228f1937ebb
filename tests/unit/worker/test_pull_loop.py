"""Lanes: what they pull, acknowledge, give back and keep, and how they end."""

from collections import Counter
from collections.abc import Iterator

import anyio
import pytest
import stamina

from shared.errors import StorageUnavailableError, SubscriptionUnavailableError
from shared.events.forward_ledger import ForwardState
from tests.support.eventually import eventually
from tests.support.fakes.scripted_forwarder import REFUSED, REJECTED, UNAVAILABLE, UNREACHABLE
from tests.support.fakes.worker_world import PROBE_SECONDS, TickingClock, WorkerWorld
from worker.poison import ALLOWANCE, NOTORIOUS_AT
from worker.statsig.outcome import SendOutcome

UNAVAILABLE_SUBSCRIPTION = SubscriptionUnavailableError("down")
DOWN = StorageUnavailableError("down")


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Constants that no setting reaches."""
    monkeypatch.setattr("worker.stoppable_waits.FIRST_PAUSE_SECONDS", 0.001)
    monkeypatch.setattr("worker.stoppable_waits.LONGEST_PAUSE_SECONDS", 0.005)
    monkeypatch.setattr("worker.pull_loop.PROBE_PULL_SECONDS", 0.01)
    monkeypatch.setattr("worker.leases.EXTENSION_SECONDS", 0.005)
    monkeypatch.setattr("worker.suspects.CHECK_SECONDS", 0.002)
    with stamina.set_testing(True, attempts=1):
        yield


@pytest.fixture
async def world() -> WorkerWorld:
    return WorkerWorld(clock=TickingClock())


async def extended(world: WorkerWorld) -> None:
    so_far = world.subscription.failures.count("extend")
    await eventually(lambda: world.subscription.failures.count("extend") > so_far)


async def probes(world: WorkerWorld, count: int = 1) -> None:
    """Time in which the circuit admits that many probes that send."""
    sends = len(world.forwarder.requests)
    await world.time_passes_until(
        lambda: len(world.forwarder.requests) >= sends + count, step_seconds=10 * PROBE_SECONDS
    )


async def test_what_is_logged_is_sent_settled_and_acknowledged(world: WorkerWorld) -> None:
    events = await world.log(5)

    async with world.running():
        await eventually(lambda: not world.subscription.backlog)

    assert world.states() == [ForwardState.DELIVERED] * 5
    assert world.forwarder.taken == {event.event_id: 1 for event in events}


async def test_nothing_is_acknowledged_before_it_is_settled(world: WorkerWorld) -> None:
    await world.log(2)

    async with world.running():
        await eventually(lambda: not world.subscription.backlog)

    wanted = ["claim", "send", "settle_delivered", "acknowledge"]
    assert [call for call in world.journal if call not in {"extend", "pull"}][:4] == wanted


async def test_what_could_not_be_settled_is_given_back_and_not_acknowledged(world: WorkerWorld) -> None:
    await world.log(2)
    world.ledger.failures.fail_until_mended("settle_delivered", DOWN)

    async with world.running():
        await eventually(lambda: world.subscription.failures.count("nack"))

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


async def test_when_no_more_can_be_parked_some_are_given_back_for_fresh_ones(
    world: WorkerWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.held_messages.MAX_PARKED_MESSAGES", 10)
    monkeypatch.setattr("worker.held_messages.ROTATED_MESSAGES", 3)
    bad = await world.log(10, "bad")
    world.forwarder.spoilers, world.forwarder.spoiling = {event.event_id for event in bad}, UNAVAILABLE

    async with world.running(batch_messages=10):
        await world.time_passes_until(lambda: len(world.parked) == 10)
        assert world.circuit.open_reason is not None
        good = await world.log(2, "good")
        await world.time_passes_until(
            lambda: all(world.row(event.event_id).state == ForwardState.DELIVERED for event in good),
            step_seconds=PROBE_SECONDS,
        )

    assert world.dead_letters() == []


async def test_no_pull_ever_asks_for_nothing(world: WorkerWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pub/Sub refuses it. One pull can bring far more bytes than there was room for."""
    monkeypatch.setattr("worker.held_messages.MAX_PARKED_BYTES", 1000)
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
        assert world.subscription.failures.count("pull") == 1 + world.pulls  # what is parked comes first
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


async def test_a_suspect_is_kept_leased_while_others_are_forwarded(world: WorkerWorld) -> None:
    await world.log(3, "bad")
    for _ in range(NOTORIOUS_AT):
        world.guilt.failed_alone("bad")
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
    monkeypatch.setattr("worker.lane_turns.SLOW_SECONDS", 0.02)
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


async def test_a_crash_gives_its_batch_back_and_the_lane_goes_on(world: WorkerWorld) -> None:
    await world.log(1)
    world.forwarder.failures.fail_next("send", RuntimeError("a bug"))

    async with world.running():
        await eventually(lambda: world.subscription.failures.count("nack"))
        await world.log(1)
        await eventually(lambda: len(world.subscription.acknowledged) == 1)

    assert world.states() == [ForwardState.PENDING, ForwardState.DELIVERED]


@pytest.mark.parametrize("idle", ["waiting for messages", "waiting for admission", "waiting for a turn"])
async def test_stopping_ends_waiting_at_once(world: WorkerWorld, idle: str) -> None:
    if idle == "waiting for admission":
        for _ in range(3):
            world.circuit.failed("http_503", 300)

    async with world.running(lanes=4 if idle == "waiting for a turn" else 2):
        await anyio.wait_all_tasks_blocked()  # and `running` says how long the end may take


async def test_stopping_lets_the_batch_in_work_finish(world: WorkerWorld) -> None:
    await world.log(2)
    gate = world.forwarder.failures.hold("send")

    async with world.running(lanes=2):
        await eventually(lambda: world.forwarder.failures.waiting("send"))
        world.stopping.set()
        await anyio.wait_all_tasks_blocked()
        gate.set()

    assert world.states() == [ForwardState.DELIVERED] * 2
    assert not world.subscription.backlog


async def test_stopping_gives_back_what_an_open_circuit_held(world: WorkerWorld) -> None:
    await world.log(4)
    world.forwarder.always = UNAVAILABLE

    async with world.running():
        await eventually(lambda: world.circuit.open_reason and len(world.subscription.leased) == 4)

    assert world.subscription.leased == set()
    assert {row.claim_token for row in world.store.ledger.values()} == {None}


async def test_a_cancelled_lane_releases_its_claims_and_keeps_its_messages_to_be_given_back(
    world: WorkerWorld,
) -> None:
    (event,) = await world.log(1)
    world.forwarder.failures.hold("send")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(world.pulling.run)
        tasks.start_soon(world.lane().run)
        await eventually(lambda: world.forwarder.failures.waiting("send"))
        tasks.cancel_scope.cancel()

    assert [message.message_id for message in world.leases.leased()] == ["1"]
    row = world.row(event.event_id)
    assert (row.claim_token, row.possible_duplicates) == (None, 1)
