"""Requests in flight together: how many there are, and how their confirmations are settled."""

from collections.abc import Sequence

import anyio
import pytest

from tests.support.eventually import eventually
from tests.support.fakes.scripted_forwarder import SERVER_ERROR
from tests.support.fakes.sending_batches import RecordingLedger, batch, delivery_of, send
from tests.support.fakes.worker_world import WorkerWorld
from worker.circuit import FAILURES_TO_OPEN
from worker.sending import EXTRA_REQUESTS
from worker.statsig.requests import SEARCH_PARTS


@pytest.fixture
async def world() -> WorkerWorld:
    return WorkerWorld()


async def test_while_others_are_confirmed_the_parts_of_a_search_are_in_flight_together(world: WorkerWorld) -> None:
    world.forwarder.spoilers, world.forwarder.spoiling = {"e-3"}, SERVER_ERROR
    world.circuit.confirmed()

    def hold_the_parts() -> None:
        if len(world.forwarder.requests) > 1:
            world.forwarder.failures.hold("send")

    world.forwarder.on_send = hold_the_parts
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(send, world, batch(8))
        await eventually(lambda: world.forwarder.failures.waiting("send") == SEARCH_PARTS)
        assert world.forwarder.requests[1:] == [[f"e-{n}"] for n in range(8)]
        world.forwarder.failures.mend()

    assert world.forwarder.confirmed == {f"e-{n}" for n in range(8) if n != 3}


async def test_while_nothing_is_confirmed_one_part_of_a_search_is_in_flight(world: WorkerWorld) -> None:
    world.forwarder.always = SERVER_ERROR
    in_flight: list[int] = []
    world.forwarder.on_send = lambda: in_flight.append(
        len(world.forwarder.requests) - world.forwarder.failures.count("send")
    )

    await send(world, batch(64))

    assert in_flight == [1] * FAILURES_TO_OPEN


async def test_the_requests_that_batches_have_in_flight_together_are_bounded(world: WorkerWorld) -> None:
    batches = 3
    world.size.events = 1
    world.circuit.confirmed()
    world.forwarder.failures.hold("send")

    async with anyio.create_task_group() as tasks:
        for _ in range(batches):
            tasks.start_soon(send, world, batch(50))
        await eventually(lambda: world.forwarder.failures.waiting("send") == batches + EXTRA_REQUESTS)
        await anyio.wait_all_tasks_blocked()
        assert len(world.forwarder.requests) == batches + EXTRA_REQUESTS
        world.forwarder.failures.mend()

    assert len(world.forwarder.confirmed) == 50


async def test_what_is_confirmed_during_a_settlement_is_settled_together_after_it() -> None:
    ledger = RecordingLedger()
    may_end = anyio.Event()
    delivery = delivery_of(batch(), ledger=ledger)

    async def slow(event_ids: Sequence[str]) -> None:
        await ledger.confirm(event_ids)
        await may_end.wait()

    delivery.settle_confirmed = slow
    async with anyio.create_task_group() as requests:
        requests.start_soon(delivery.settle, ["e-0"])
        await eventually(lambda: ledger.confirmed)
        requests.start_soon(delivery.settle, ["e-1"])
        requests.start_soon(delivery.settle, ["e-2"])
        await anyio.wait_all_tasks_blocked()
        assert ledger.confirmed == [["e-0"]]
        may_end.set()

    assert ledger.confirmed == [["e-0"], ["e-1", "e-2"]]
