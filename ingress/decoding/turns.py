"""Turns of the event loop: what takes long is done in slices, and others run in between."""

import asyncio
import time
from collections.abc import Callable
from typing import Final, Protocol

SLICE_SECONDS: Final = 0.0005
"""After so long the next piece of a call's work waits for a turn. Another caller's call waits for a slice three to five
times, once for each thing that it waits for itself; a turn costs some 10 us, a fiftieth of this."""


class Turns(Protocol):
    """Who may hold the event loop next."""

    async def turn(self, caller: str) -> None:
        """Wait until it is this caller's turn. Called before each slice; what a slice is, `Slices` says."""
        ...


class Checkpoints:
    """Turns in the order of the event loop's own queue, whoever calls."""

    async def turn(self, caller: str) -> None:
        del caller
        await asyncio.sleep(0)


class Slices:
    """The work of one call, in pieces: each is a few milliseconds at the most, and a slice has as many as fit.

    Only what cannot be divided takes longer: the densest event that there can be takes some 30 ms to decode, and less
    to normalize.
    """

    __slots__ = ("_caller", "_now", "_turns", "_until")

    def __init__(self, turns: Turns, caller: str, *, now: Callable[[], float] = time.perf_counter) -> None:
        self._turns = turns
        self._caller = caller
        self._now = now
        self._until = 0.0

    async def next_piece(self) -> None:
        """Before each piece: waits for a turn where this slice is used up, and before the first one."""
        if self._now() >= self._until:
            await self._turns.turn(self._caller)
            self._until = self._now() + SLICE_SECONDS
