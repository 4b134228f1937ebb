"""How lanes end: stopped in order, or cancelled."""

import anyio
import pytest

from shared.events.forward_ledger import ForwardState
from tests.support.eventually import eventually
from tests.support.fakes.scripted_forwarder import UNAVAILABLE
from tests.support.fakes.worker_world import TickingClock, WorkerWorld

pytestmark = pytest.mark.usefixtures("short_waits")


@pytest.fixture
async def world() -> WorkerWorld:
    return WorkerWorld(clock=TickingClock())


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
        tasks.start_soon(world.prefetcher.run)
        tasks.start_soon(world.lane().run)
        await eventually(lambda: world.forwarder.failures.waiting("send"))
        tasks.cancel_scope.cancel()

    assert [message.message_id for message in world.leases.leased()] == ["1"]
    row = world.row(event.event_id)
    assert (row.claim_token, row.possible_duplicates) == (None, 1)
