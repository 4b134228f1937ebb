"""Gathered calls: all run at the same time, and one failure stands for all."""

from collections.abc import Awaitable, Callable
from functools import partial

import anyio
import pytest

from shared.concurrency import gathered


async def test_results_come_in_the_order_of_the_calls() -> None:
    second_ran = anyio.Event()

    async def first() -> str:
        await second_ran.wait()
        return "first"

    async def second() -> str:
        second_ran.set()
        return "second"

    assert await gathered([first, second]) == ["first", "second"]


@pytest.mark.parametrize("others", [0, 2])
async def test_a_failure_is_raised_as_it_is_and_the_others_are_cancelled(others: int) -> None:
    cancelled: list[int] = []

    async def fail() -> None:
        raise LookupError("this one")

    async def wait(number: int) -> None:
        try:
            await anyio.sleep_forever()
        except anyio.get_cancelled_exc_class():
            cancelled.append(number)
            raise

    waiting: list[Callable[[], Awaitable[None]]] = [partial(wait, number) for number in range(others)]
    with pytest.raises(LookupError, match="this one"):
        await gathered([fail, *waiting])

    assert sorted(cancelled) == list(range(others))


async def test_cancellation_from_outside_ends_all_and_is_no_failure() -> None:
    ended: list[bool] = []

    async def wait() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            ended.append(True)

    with anyio.move_on_after(0.01) as scope:
        await gathered([wait, wait])

    assert scope.cancelled_caught
    assert ended == [True, True]
