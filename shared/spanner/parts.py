"""Divides reads and writes by key into concurrent transactions of a moderate size."""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final, TypeVar

from shared.concurrency import gathered

ROWS_AT_ONCE: Final = 100
"""Rows of one transaction. Spanner coordinates all splits that a commit writes to: smaller commits, of neighbours in
the key space, are faster and run side by side. On the emulator the time of a commit grows with the square of its rows:
an event takes 4 times as long in a commit of 500 as in one of 100. But each call costs the worker about a
millisecond."""

S = TypeVar("S")
T = TypeVar("T")


async def in_parts(items: Sequence[S], call: Callable[[Sequence[S]], Awaitable[T]], *, rows: int) -> list[T]:
    """Call `call` with parts of up to `rows` items, concurrently, and return the results in the order of the parts.

    When a part fails the others are cancelled, and the first failure is raised.
    """
    if len(items) <= rows:
        return [await call(items)]
    return await gathered([partial(call, items[start : start + rows]) for start in range(0, len(items), rows)])
