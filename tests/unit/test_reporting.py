"""Reporting: operators see that a worker runs, how its circuit stands and that it ended; work never waits for it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest

from shared.errors import StorageUnavailableError
from shared.worker_states import WorkerState
from tests.support.eventually import eventually
from tests.support.memory_event_log import MemoryStore
from tests.support.memory_worker_states import MemoryWorkerStates
from tests.support.worker_world import WorkerWorld
from worker import reporting
from worker.reporting import Reporting


class World(WorkerWorld):
    def __init__(self) -> None:
        super().__init__()
        self.worker_states = MemoryWorkerStates(MemoryStore(self.clock))
        self.reporting = Reporting(
            states=self.worker_states, circuit=self.circuit, clock=self.clock, stopping=self.stopping
        )

    @property
    def told(self) -> WorkerState:
        (state, _) = self.worker_states._store.workers[self.reporting.worker_id]
        return state

    def reports(self) -> int:
        return self.worker_states.failures.count("report")

    @asynccontextmanager
    async def reporting_until_the_end(self) -> AsyncIterator[anyio.CancelScope]:
        """Reports until the end of the block, as in the runtime: cancelled once the lanes are done."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.reporting.run_until_stopped)
            yield tasks.cancel_scope
            tasks.cancel_scope.cancel()


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(reporting, "INTERVAL_SECONDS", 0.01)
    return World()


async def test_a_worker_tells_at_once_that_it_runs_and_again_at_intervals(world: World) -> None:
    async with world.reporting_until_the_end():
        await eventually(lambda: world.reports() >= 3)

        assert world.told.circuit_reason is None
        assert world.told.started_at == world.clock.now()
        assert not world.told.is_stopped


async def test_why_and_since_when_the_circuit_is_open_is_told_and_that_it_closed(world: World) -> None:
    async with world.reporting_until_the_end():
        await eventually(lambda: world.reports() > 0)
        world.open_circuit()
        opened = world.clock.now()
        world.clock.advance(5)
        await eventually(lambda: world.told.circuit_reason == "http_503")
        assert world.told.circuit_since == opened

        world.circuit.confirmed()
        await eventually(lambda: world.told.circuit_reason is None)
        assert world.told.circuit_since is None


async def test_the_end_is_told_as_soon_as_the_worker_stops(world: World) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(world.reporting.run_until_stopped)
        await eventually(lambda: world.reports() > 0)
        world.stopping.set()

    assert world.told.is_stopped


async def test_the_end_is_told_when_cancelled_too(world: World) -> None:
    async with world.reporting_until_the_end():
        await eventually(lambda: world.reports() > 0)

    assert world.told.is_stopped


@pytest.mark.parametrize("error", [StorageUnavailableError("down"), RuntimeError("a fault of ours")])
async def test_a_report_that_fails_ends_nothing_and_the_next_is_made(world: World, error: Exception) -> None:
    world.worker_states.failures.fail_until_mended("report", error)
    async with world.reporting_until_the_end():
        await eventually(lambda: world.reports() >= 3)
        world.worker_states.failures.mend()
        await eventually(lambda: world.reporting.worker_id in world.worker_states._store.workers)


async def test_a_report_without_an_answer_holds_the_end_up_for_a_bounded_time(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reporting, "LAST_SECONDS", 0.05)
    world.worker_states.failures.hold("report")

    with anyio.fail_after(2):
        async with world.reporting_until_the_end():
            await eventually(lambda: world.worker_states.failures.waiting("report") == 1)
