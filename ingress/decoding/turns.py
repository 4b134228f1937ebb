"""Turns of the event loop: long work is done in slices, and other calls run in between."""

import asyncio
import time
from collections.abc import Callable
from typing import Final, Protocol

SLICE_SECONDS: Final = 0.0003
"""The length of a slice, after which the next piece of a call's work waits for a turn. Another caller's call waits for
one at each of its own awaits. A turn costs some 10 us, a thirtieth of this."""


class Turns(Protocol):
    """Decides which caller's work the event loop does next."""

    async def turn(self, caller: str) -> None:
        """Wait until this caller may do a slice of work. To be awaited before each slice; see `Slices`.

        Raises:
            OverloadedError: a call's first turn did not come in time.
        """
        ...


class Checkpoints:
    """Turns in the order of the event loop's own queue, whichever the caller."""

    async def turn(self, caller: str) -> None:
        del caller
        await asyncio.sleep(0)


class Slices:
    """Divides the work of one call into slices of SLICE_SECONDS, each of as many pieces as fit.

    A piece takes a few milliseconds at most. Only what cannot be divided takes longer: the densest possible event takes
    some 30 ms to decode, and less to normalize.
    """

    __slots__ = ("_caller", "_now", "_turns", "_until")

    def __init__(self, turns: Turns, caller: str, *, now: Callable[[], float] = time.perf_counter) -> None:
        self._turns = turns
        self._caller = caller
        self._now = now
        self._until = 0.0

    async def next_piece(self) -> None:
        """To be awaited before each piece. Waits for a turn before the first one, and when a slice is used up.

        Raises:
            OverloadedError: the call's first turn did not come in time.
        """
        if self._now() >= self._until:
            await self._turns.turn(self._caller)
            self._until = self._now() + SLICE_SECONDS
