"""Concurrent calls whose failure is raised as it is, not in an ExceptionGroup."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import anyio

T = TypeVar("T")


async def gathered(calls: Sequence[Callable[[], Awaitable[T]]]) -> list[T]:
    """Run all calls at the same time and return their results in the order of the calls.

    When a call fails the others are cancelled, and the first failure is raised once they have ended.
    """
    if len(calls) == 1:
        return [await calls[0]()]
    results: dict[int, T] = {}
    failures: list[BaseException] = []

    async def run(number: int) -> None:
        try:
            results[number] = await calls[number]()
        except anyio.get_cancelled_exc_class():
            raise
        except BaseException as error:  # noqa: BLE001 - raised below; the task group would wrap it
            failures.append(error)
            tasks.cancel_scope.cancel()

    async with anyio.create_task_group() as tasks:
        for number in range(len(calls)):
            tasks.start_soon(run, number)
    if failures:
        raise failures[0]
    return [results[number] for number in range(len(calls))]
