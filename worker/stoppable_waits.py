"""Waits and backoff pauses that end when the process is to stop."""

import random
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import anyio

from shared.backoff import exponential_backoff

# Backoff after failed pulls, crashed batches and claims that Spanner does not answer: full jitter below a bound that
# doubles from the first to the longest.
FIRST_PAUSE_SECONDS: Final = 0.5
LONGEST_PAUSE_SECONDS: Final = 10.0

T = TypeVar("T")


class StoppableWaits:
    """Runs waits that `stopping` ends; for the event loop's thread.

    One `watch` task serves them all: a task for each costs more than most waits.
    """

    def __init__(self, stopping: anyio.Event) -> None:
        self._stopping = stopping
        self._scopes: set[anyio.CancelScope] = set()

    async def watch(self) -> None:
        """End all waits once `stopping` is set; run it beside them."""
        await self._stopping.wait()
        for scope in self._scopes:
            scope.cancel()

    async def unless_stopping(self, wait: Callable[[], Awaitable[T]]) -> T | None:
        """Return what `wait` returns; None if `stopping` ended it, or was set before it began."""
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
    """The backoff of one loop, or of several that fail together."""

    def __init__(self, stopping: anyio.Event) -> None:
        self._stopping = stopping
        self._end: anyio.Event | None = None
        self.failures = 0
        """In a row. Those during a pause count as one with its own."""

    async def pause(self) -> None:
        """Count a failure, and sleep; ends early when `stopping` is set. During another task's pause, end with that."""
        if self._end is not None:
            await self._end.wait()
            return
        self.failures += 1
        self._end = anyio.Event()
        bound = exponential_backoff(FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, self.failures)
        try:
            with anyio.move_on_after(random.uniform(0, bound)):  # noqa: S311 - jitter
                await self._stopping.wait()
        finally:
            self._end.set()
            self._end = None

    def reset(self) -> None:
        """Begin again with the first pause: something succeeded."""
        self.failures = 0
