"""Divides what is read and written by key into transactions of a moderate size."""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final, TypeVar

from shared.concurrency import gathered

ROWS_AT_ONCE: Final = 100
"""Rows of one transaction. Spanner coordinates all splits that a commit writes to: smaller ones, over neighbours in the
key space, are quicker and run side by side. The emulator's time for a commit grows with the square of its rows: an
event costs it 4 times as much in a commit of 500 as in one of 100. Each call costs the worker about a millisecond."""

S = TypeVar("S")
T = TypeVar("T")


async def in_parts(items: Sequence[S], call: Callable[[Sequence[S]], Awaitable[T]], *, rows: int) -> list[T]:
    """What the call makes of each part of `rows` items at the most, all parts at the same time.

    Where a part fails the others are cancelled, and the first failure is raised.
    """
    if len(items) <= rows:
        return [await call(items)]
    return await gathered([partial(call, items[start : start + rows]) for start in range(0, len(items), rows)])
