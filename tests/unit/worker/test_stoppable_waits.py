"""Waits that end with the process, and growing pauses after failures."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import anyio.lowlevel
import pytest

from worker.stoppable_waits import Pauses, StoppableWaits


@asynccontextmanager
async def watched(stopping: anyio.Event) -> AsyncIterator[StoppableWaits]:
    waits = StoppableWaits(stopping)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(waits.watch)
        yield waits
        stopping.set()


async def answer() -> int:
    await anyio.lowlevel.checkpoint()
    return 7


async def test_a_wait_brings_what_it_waited_for() -> None:
    async with watched(anyio.Event()) as waits:
        assert await waits.unless_stopping(answer) == 7
        assert await waits.unless_stopping(answer) == 7


async def test_stopping_ends_every_wait_at_once() -> None:
    stopping, ended = anyio.Event(), list[object]()

    async def wait(waits: StoppableWaits) -> None:
        ended.append(await waits.unless_stopping(anyio.sleep_forever))

    with anyio.fail_after(5):
        async with watched(stopping) as waits, anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(wait, waits)
            await anyio.wait_all_tasks_blocked()
            stopping.set()

    assert ended == [None, None, None]


async def test_no_wait_begins_once_the_process_stops() -> None:
    stopping = anyio.Event()
    stopping.set()
    begun: list[int] = []

    async def wait() -> None:
        begun.append(1)

    await StoppableWaits(stopping).unless_stopping(wait)

    assert begun == []


async def test_a_wait_that_fails_says_so_and_a_cancellation_from_outside_goes_on() -> None:
    async def fail() -> None:
        raise ValueError("ours")

    async with watched(anyio.Event()) as waits:
        with pytest.raises(ValueError, match="ours"):
            await waits.unless_stopping(fail)
        with anyio.move_on_after(0.001) as scope:
            await waits.unless_stopping(anyio.sleep_forever)
    assert scope.cancelled_caught


async def test_pauses_grow_with_each_setback_and_begin_anew_once_something_got_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bounds: list[float] = []

    def uniform(_: float, bound: float) -> float:
        bounds.append(bound)
        return 0.0

    monkeypatch.setattr("worker.stoppable_waits.random.uniform", uniform)
    pauses = Pauses(anyio.Event())

    for _ in range(7):
        await pauses.pause()
    pauses.reset()
    await pauses.pause()

    assert bounds == [0.5, 1.0, 2.0, 4.0, 8.0, 10.0, 10.0, 0.5]


async def test_failures_during_a_pause_share_it_and_count_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.stoppable_waits.random.uniform", lambda _, bound: 1e6 * bound)
    stopping, ended = anyio.Event(), list[int]()
    pauses = Pauses(stopping)

    async def fail(number: int) -> None:
        await pauses.pause()
        ended.append(number)

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            for number in range(3):
                tasks.start_soon(fail, number)
            await anyio.wait_all_tasks_blocked()
            assert (pauses.failures, ended) == (1, [])
            stopping.set()

    assert sorted(ended) == [0, 1, 2]
    assert pauses.failures == 1


async def test_stopping_ends_a_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.stoppable_waits.random.uniform", lambda _, bound: 1e6 * bound)
    stopping = anyio.Event()

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(Pauses(stopping).pause)
            await anyio.wait_all_tasks_blocked()
            stopping.set()
