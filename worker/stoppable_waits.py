"""Waits that end when the process is to stop, and pauses after setbacks."""

import random
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import anyio

FIRST_PAUSE_SECONDS: Final = 0.5
LONGEST_PAUSE_SECONDS: Final = 10.0
"""Between pulls that fail, batches that crash and claims that Spanner does not answer: full jitter below a bound that
doubles from the one to the other."""

T = TypeVar("T")


class StoppableWaits:
    """One task watches for all waits of a lane: a task for each costs more than most of them."""

    def __init__(self, stopping: anyio.Event) -> None:
        self._stopping = stopping
        self._scopes: set[anyio.CancelScope] = set()

    async def watch(self) -> None:
        """End the waits once `stopping` is set; for a task beside them."""
        await self._stopping.wait()
        for scope in self._scopes:
            scope.cancel()

    async def unless_stopping(self, wait: Callable[[], Awaitable[T]]) -> T | None:
        """What the wait brings; None where it was ended, or not begun."""
        if self._stopping.is_set():
            return None
        with anyio.CancelScope() as scope:
            self._scopes.add(scope)
            try:
                return await wait()
            finally:
                self._scopes.discard(scope)
        return None


class Pauses:
    """Those of one lane."""

    def __init__(self, stopping: anyio.Event) -> None:
        self._stopping = stopping
        self.setbacks = 0
        """In a row."""

    async def pause(self) -> None:
        """After one setback more; ends with the process."""
        self.setbacks += 1
        bound = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2.0 ** min(self.setbacks - 1, 10))
        with anyio.move_on_after(random.uniform(0, bound)):  # noqa: S311 - jitter
            await self._stopping.wait()

    def over(self) -> None:
        """Something got on."""
        self.setbacks = 0
