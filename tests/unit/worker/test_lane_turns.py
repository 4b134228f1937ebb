"""Turns: how many lanes work at once, and when a lane that waits for a slow answer lends its turn."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest

from tests.support.eventually import eventually
from tests.support.fakes.manual_clock import ManualClock
from worker.circuit import Circuit
from worker.lane_turns import LaneTurn, LaneTurns

SLOW = 0.01


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.lane_turns.SLOW_BATCH_SECONDS", SLOW)  # no setting reaches it


class World:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.circuit = Circuit(self.clock, probe_seconds=5)
        self.turns = LaneTurns(2, circuit=self.circuit, clock=self.clock)

    @asynccontextmanager
    async def waiting(self) -> AsyncIterator[list[LaneTurn]]:
        """Somebody who waits for a turn."""
        taken: list[LaneTurn] = []

        async def take() -> None:
            taken.append(await self.turns.take())

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(take)
            await anyio.wait_all_tasks_blocked()
            yield taken
            tasks.cancel_scope.cancel()


@pytest.fixture
def world() -> World:
    return World()


async def test_so_many_lanes_work_and_the_next_waits_until_one_gives_up_its_turn(world: World) -> None:
    first, _ = await world.turns.take(), await world.turns.take()
    async with world.waiting() as taken:
        assert not taken

        first.release()

        await eventually(lambda: taken)


async def test_a_turn_is_given_up_once(world: World) -> None:
    first, _ = await world.turns.take(), await world.turns.take()
    first.release()
    first.release()
    await world.turns.take()

    async with world.waiting() as taken:
        assert not taken


async def test_a_slow_lane_lends_its_turn_while_others_are_confirmed(world: World) -> None:
    slow, _ = await world.turns.take(), await world.turns.take()
    async with world.waiting() as taken, anyio.create_task_group() as tasks:
        tasks.start_soon(slow.release_when_slow)
        world.clock.advance(1)
        world.circuit.confirmed()
        await eventually(lambda: taken)
        slow.release()  # when its work is over: it has none any more
        tasks.cancel_scope.cancel()

        async with world.waiting() as next_one:
            assert not next_one


async def test_a_slow_lane_keeps_its_turn_while_nothing_is_confirmed(world: World) -> None:
    world.circuit.confirmed()
    world.clock.advance(1)  # long before
    slow, _ = await world.turns.take(), await world.turns.take()
    async with world.waiting() as taken, anyio.create_task_group() as tasks:
        tasks.start_soon(slow.release_when_slow)
        await anyio.sleep(5 * SLOW)
        assert not taken

        world.circuit.confirmed()  # and lends it once that is over

        await eventually(lambda: taken)
        tasks.cancel_scope.cancel()


async def test_a_lane_that_is_done_in_time_lends_nothing(world: World) -> None:
    quick = await world.turns.take()
    world.circuit.confirmed()
    with anyio.fail_after(1):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(quick.release_when_slow)
            quick.release()

    await world.turns.take()
    await world.turns.take()
    async with world.waiting() as taken:
        assert not taken
