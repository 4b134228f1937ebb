"""Process states: that a process runs, what it counted, that it ended; work never waits for the report."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from functools import partial

import anyio
import pytest
from connectrpc.code import Code

from ingress.reporting import CountingRepository
from ingress.reporting import Tally as IngressTally
from shared.errors import StorageUnavailableError
from shared.events.event import EventLogRow
from shared.process import reporting
from shared.process.process_states import ProcessState, Report, Role
from shared.process.reporting import Reporting
from tests.support.eventually import eventually
from tests.support.fakes.memory_event_log import MemoryEventLogRepository, MemoryStore
from tests.support.fakes.memory_process_states import MemoryProcessStates
from tests.support.fakes.worker_world import WorkerWorld
from tests.support.sample_events import sample_event, sample_row
from worker.reporting import take_report
from worker.tally import Tally


class World(WorkerWorld):
    def __init__(self) -> None:
        super().__init__()
        self.process_states = MemoryProcessStates(MemoryStore(self.clock))
        self.tally = Tally(self.clock)
        self.written_beside: list[str] = []
        self.reporting = Reporting(
            states=self.process_states,
            role=Role.WORKER,
            look=partial(take_report, self.tally, self.circuit),
            clock=self.clock,
            stopping=self.stopping,
            beside=self._write_beside,
        )

    async def _write_beside(self, process_id: str) -> None:
        async with self.process_states.failures.around("beside"):
            self.written_beside.append(process_id)

    @property
    def told(self) -> ProcessState:
        (state, _) = self.process_states._store.processes[self.reporting.process_id]
        return state

    def reports(self) -> int:
        return self.process_states.failures.count("report")

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


async def test_a_process_tells_at_once_that_it_runs_and_again_at_intervals(world: World) -> None:
    async with world.reporting_until_the_end():
        await eventually(lambda: world.reports() >= 3)

        assert world.told.role is Role.WORKER
        assert world.told.report == Report()
        assert world.told.started_at == world.clock.now()
        assert not world.told.is_stopped


async def test_why_and_since_when_the_circuit_is_open_is_told_and_that_it_closed(world: World) -> None:
    async with world.reporting_until_the_end():
        await eventually(lambda: world.reports() > 0)
        world.open_circuit()
        opened = world.clock.now()
        world.clock.advance(1)
        await eventually(lambda: world.told.report.circuit_reason == "http_503")
        assert world.told.report.circuit_since == opened
        assert world.told.report.next_probe_at == world.circuit.next_probe_at is not None

        world.circuit.confirmed()
        await eventually(lambda: world.told.report.circuit_reason is None)
        assert world.told.report == Report()


async def test_what_was_counted_is_told_once_with_the_time_that_it_took(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reporting, "INTERVAL_SECONDS", 60.0)
    world.tally.delivered, world.tally.dead_lettered = 7, 1
    world.tally.failed("http_503")
    world.clock.advance(10)
    failed_at = world.clock.now() - timedelta(seconds=10)
    async with world.reporting_until_the_end():
        await eventually(lambda: world.reports() == 1)
        first = world.told
        world.clock.advance(5)
    last = world.told

    assert first.interval_seconds == 10
    assert first.report == Report(
        delivered=7, dead_lettered=1, failed_requests=1, last_failure="http_503", last_failure_at=failed_at
    )
    assert last.interval_seconds == 5
    assert last.report == replace(first.report, delivered=0, dead_lettered=0, failed_requests=0)


async def test_the_end_is_told_as_soon_as_the_process_stops(world: World) -> None:
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
    world.process_states.failures.fail_until_mended("report", error)
    async with world.reporting_until_the_end():
        await eventually(lambda: world.reports() >= 3)
        world.process_states.failures.mend()
        await eventually(lambda: world.reporting.process_id in world.process_states._store.processes)


async def test_a_report_without_an_answer_holds_the_end_up_for_a_bounded_time(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reporting, "LAST_SECONDS", 0.05)
    world.process_states.failures.hold("report")

    with anyio.fail_after(2):
        async with world.reporting_until_the_end():
            await eventually(lambda: world.process_states.failures.waiting("report") == 1)


async def test_what_is_written_beside_a_report_is_written_each_time_and_at_the_end(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world.reporting_until_the_end():
        await eventually(lambda: len(world.written_beside) >= 3)
        monkeypatch.setattr(reporting, "INTERVAL_SECONDS", 60.0)
        await eventually(lambda: world.process_states.failures.waiting("beside") == 0)
        before = world.reports()

    assert set(world.written_beside) == {world.reporting.process_id}
    assert len(world.written_beside) == world.reports() > before


@pytest.mark.parametrize("error", [StorageUnavailableError("down"), RuntimeError("a fault of ours")])
async def test_what_fails_beside_a_report_ends_nothing_and_is_tried_again(world: World, error: Exception) -> None:
    world.process_states.failures.fail_until_mended("beside", error)
    async with world.reporting_until_the_end():
        await eventually(lambda: world.process_states.failures.count("beside") >= 3)
        assert world.reports() >= 3
        world.process_states.failures.mend()
        await eventually(lambda: world.written_beside)


async def test_an_ingress_counts_what_it_commits_and_not_what_fails() -> None:
    tally, store = IngressTally(), MemoryStore()
    repository = MemoryEventLogRepository(store)
    counting = CountingRepository(repository, tally)
    rows: Sequence[EventLogRow] = [sample_row(sample_event()) for _ in range(3)]

    await counting.append(rows)
    repository.failures.fail_next("append", StorageUnavailableError("down"))
    with pytest.raises(StorageUnavailableError):
        await counting.append([sample_row(sample_event())])

    assert (tally.taken().accepted, tally.taken().accepted) == (3, 0)
    assert await counting.written([rows[0].event.event_id]) == await repository.written([rows[0].event.event_id])


def test_an_ingress_tells_the_callers_faults_from_its_own() -> None:
    tally = IngressTally()

    tally.answered([Code.INVALID_ARGUMENT, Code.RESOURCE_EXHAUSTED, Code.UNAVAILABLE, Code.CANCELED])

    assert tally.taken() == Report(refused=2, failed=1)
    assert tally.taken() == Report()
