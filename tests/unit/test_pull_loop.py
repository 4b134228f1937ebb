"""One lane: what it pulls, acknowledges, gives back and keeps, and how it ends."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import anyio
import pytest
import stamina

from shared.errors import StorageUnavailableError, SubscriptionUnavailableError
from shared.forward_ledger import ForwardState
from tests.support.eventually import eventually
from tests.support.scripted_forwarder import REJECTED, UNAVAILABLE
from tests.support.worker_world import PROBE_SECONDS, WorkerWorld
from worker.circuit import PROBE_MESSAGES

UNAVAILABLE_SUBSCRIPTION = SubscriptionUnavailableError("down")


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Constants that no setting reaches."""
    monkeypatch.setattr("worker.pull_loop.FIRST_PAUSE_SECONDS", 0.001)
    monkeypatch.setattr("worker.pull_loop.LONGEST_PAUSE_SECONDS", 0.005)
    monkeypatch.setattr("worker.pull_loop.PROBE_PULL_SECONDS", 0.01)
    monkeypatch.setattr("worker.leases.EXTENSION_SECONDS", 0.005)
    with stamina.set_testing(True, attempts=1):
        yield


@pytest.fixture
async def world() -> WorkerWorld:
    # No retry in process: what is not confirmed at once comes to its fate at once.
    world = WorkerWorld(budget_seconds=0)
    world.random.share = 0.5
    return world


@asynccontextmanager
async def running(world: WorkerWorld, lanes: int = 1) -> AsyncIterator[None]:
    """Lanes until the block ends, and then stopped in the orderly way, which must be quick."""
    async with anyio.create_task_group() as tasks:
        for _ in range(lanes):
            tasks.start_soon(world.lane().run)
        yield
        world.stopping.set()
        tasks.cancel_scope.deadline = anyio.current_time() + 1
    assert not tasks.cancel_scope.cancelled_caught, "did not stop"


async def extended(world: WorkerWorld) -> None:
    so_far = world.subscription.failures.count("extend")
    await eventually(lambda: world.subscription.failures.count("extend") > so_far)


async def probes(world: WorkerWorld, seconds: float = 20 * PROBE_SECONDS) -> None:
    """Time in which the circuit admits its next probe, and the lease of a message is extended."""
    sends = len(world.forwarder.requests)
    with anyio.fail_after(5):
        while len(world.forwarder.requests) == sends:
            world.clock.advance(seconds)
            await anyio.sleep(PROBE_SECONDS)


async def test_what_is_logged_is_sent_settled_and_acknowledged(world: WorkerWorld) -> None:
    events = await world.log(5)

    async with running(world):
        await eventually(lambda: not world.subscription.backlog)

    assert world.states() == [ForwardState.DELIVERED] * 5
    assert world.forwarder.taken == {event.event_id: 1 for event in events}


async def test_nothing_is_acknowledged_before_it_is_settled(world: WorkerWorld) -> None:
    await world.log(2)

    async with running(world):
        await eventually(lambda: not world.subscription.backlog)

    wanted = ["pull", "claim", "send", "settle_delivered", "acknowledge"]
    assert [call for call in world.journal if call != "extend"][:5] == wanted


async def test_what_could_not_be_settled_is_given_back_and_not_acknowledged(world: WorkerWorld) -> None:
    await world.log(2)
    world.ledger.failures.fail_until_mended("settle_delivered", StorageUnavailableError("down"))

    async with running(world):
        await eventually(lambda: world.subscription.failures.count("give_back"))

    assert world.subscription.acknowledged == []
    assert set(world.subscription.backlog.values()) == {1}
    assert world.subscription.leased == set()


async def test_what_is_left_for_later_comes_again_after_the_backoff(world: WorkerWorld) -> None:
    (event,) = await world.log(1)
    world.forwarder.script.append(UNAVAILABLE)

    async with running(world):
        await eventually(lambda: world.subscription.failures.count("give_back"))
        world.clock.advance(world.subscription.minimum_backoff_seconds)
        await eventually(lambda: not world.subscription.backlog)

    assert world.row(event.event_id).attempts == 2


async def test_while_the_circuit_is_open_nothing_is_pulled(world: WorkerWorld) -> None:
    world.open_circuit()
    await world.log(3)

    async with running(world, lanes=3):
        await anyio.wait_all_tasks_blocked()
        assert world.subscription.backlog == {"1": 0, "2": 0, "3": 0}

    assert world.subscription.failures.count("pull") == 0


async def test_a_probe_is_small_and_its_success_brings_the_rest(world: WorkerWorld) -> None:
    world.open_circuit()
    await world.log(3 * PROBE_MESSAGES)

    async with running(world, lanes=2):
        await probes(world)
        await eventually(lambda: not world.subscription.backlog)

    assert len(world.forwarder.requests[0]) == PROBE_MESSAGES
    assert world.circuit.open_reason is None


async def test_an_outage_costs_no_delivery_attempt_and_no_lease(world: WorkerWorld) -> None:
    await world.log(30)
    world.forwarder.always = UNAVAILABLE
    for _ in range(2):
        world.circuit.failed("http_503")

    async with running(world, lanes=2):
        await eventually(lambda: world.circuit.open_reason)
        for _ in range(5):
            await extended(world)
            await probes(world, 1.0)
            assert world.subscription.backlog == {str(number): 1 for number in range(1, 31)}
            assert len(world.subscription.leased) == 30
        world.forwarder.always = None
        await probes(world, 1.0)
        await eventually(lambda: not world.subscription.backlog)

    assert max(world.forwarder.taken.values()) == 1
    assert world.dead_letter_topic.published == []


async def test_rejections_of_everything_are_held_and_never_dead_lettered_by_probes() -> None:
    """An API that changed must not empty a backlog into the dead-letter topic, ten events a probe."""
    world = WorkerWorld()  # which tries again in process until the circuit opens
    await world.log(100)
    world.forwarder.always = REJECTED

    async with running(world):
        await eventually(lambda: world.circuit.open_reason)
        for _ in range(3):
            await probes(world, 1.0)

    assert world.dead_letter_topic.published == []
    assert world.states() == [ForwardState.PENDING] * 100


async def test_a_failing_pull_is_tried_again(world: WorkerWorld) -> None:
    await world.log(1)
    world.subscription.failures.fail_next("pull", UNAVAILABLE_SUBSCRIPTION, times=5)

    async with running(world):
        await eventually(lambda: not world.subscription.backlog)

    assert world.subscription.failures.count("pull") >= 6


async def test_a_failed_acknowledgement_is_made_good_without_sending_again(world: WorkerWorld) -> None:
    (event,) = await world.log(1)
    world.subscription.failures.fail_next("acknowledge", UNAVAILABLE_SUBSCRIPTION)

    async with running(world):
        await eventually(lambda: world.subscription.failures.count("acknowledge") == 1)
        world.clock.advance(60)
        await eventually(lambda: not world.subscription.backlog)

    assert world.forwarder.taken[event.event_id] == 1


async def test_a_crash_gives_its_batch_back_and_the_lane_goes_on(world: WorkerWorld) -> None:
    await world.log(1)
    world.forwarder.failures.fail_next("send", RuntimeError("a bug"))

    async with running(world):
        await eventually(lambda: world.subscription.failures.count("give_back"))
        await world.log(1)
        await eventually(lambda: len(world.subscription.acknowledged) == 1)

    assert world.states() == [ForwardState.PENDING, ForwardState.DELIVERED]


@pytest.mark.parametrize("idle", ["waiting for messages", "waiting for admission"])
async def test_stopping_ends_waiting_at_once(world: WorkerWorld, idle: str) -> None:
    if idle == "waiting for admission":
        world.circuit.open("http_503", 300)
    started = anyio.current_time()

    async with running(world, lanes=2):
        await anyio.wait_all_tasks_blocked()

    assert anyio.current_time() - started < 0.5


async def test_stopping_lets_the_batch_in_work_finish(world: WorkerWorld) -> None:
    await world.log(2)
    gate = world.forwarder.failures.hold("send")

    async with running(world, lanes=2):
        await eventually(lambda: world.forwarder.failures.waiting("send"))
        world.stopping.set()
        await anyio.wait_all_tasks_blocked()
        gate.set()

    assert world.states() == [ForwardState.DELIVERED] * 2
    assert not world.subscription.backlog


async def test_stopping_gives_back_what_an_open_circuit_held(world: WorkerWorld) -> None:
    await world.log(4)
    world.forwarder.always = UNAVAILABLE
    world.circuit.failed("http_503")
    world.circuit.failed("http_503")

    async with running(world):
        await eventually(lambda: world.circuit.open_reason and len(world.subscription.leased) == 4)

    assert world.subscription.leased == set()
    assert {row.claim_token for row in world.store.ledger.values()} == {None}


async def test_a_cancelled_lane_releases_and_gives_back(world: WorkerWorld) -> None:
    (event,) = await world.log(1)
    world.forwarder.failures.hold("send")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(world.lane().run)
        await eventually(lambda: world.forwarder.failures.waiting("send"))
        tasks.cancel_scope.cancel()

    assert world.subscription.leased == set()
    row = world.row(event.event_id)
    assert (row.claim_token, row.possible_duplicates) == (None, 1)
