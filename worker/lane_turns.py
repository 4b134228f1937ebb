"""Turns: permits that bound how many lanes work at once. A lane that waits for a slow answer gives its turn up."""

from typing import Final

import anyio

from shared.clock import Clock
from worker.circuit import Circuit

SLOW_BATCH_SECONDS: Final = 1.0
"""A batch that takes longer than this waits for an answer: 500 events take a tenth of it."""


class LaneTurn:
    """One permit. For the event loop's thread."""

    def __init__(self, permits: anyio.Semaphore, circuit: Circuit, clock: Clock) -> None:
        self._permits = permits
        self._circuit = circuit
        self._clock = clock
        self._is_held = True

    def release(self) -> None:
        """Give the turn up. Idempotent."""
        if self._is_held:
            self._is_held = False
            self._permits.release()

    async def release_when_slow(self) -> None:
        """Release the turn once the batch is slow while others are confirmed; run it beside the batch.

        While nothing is confirmed Statsig itself hangs, and more requests would only leave more copies.
        """
        while self._is_held:
            await anyio.sleep(SLOW_BATCH_SECONDS)
            if self._circuit.confirmed_since(self._clock.monotonic() - SLOW_BATCH_SECONDS):
                self.release()


class LaneTurns:
    """The turns of one process. More than `lanes` are at work only where some have released theirs early."""

    def __init__(self, lanes: int, *, circuit: Circuit, clock: Clock) -> None:
        self._permits = anyio.Semaphore(lanes)
        self._circuit = circuit
        self._clock = clock

    async def take(self) -> LaneTurn:
        """Wait for a turn. The caller must release it."""
        await self._permits.acquire()
        return LaneTurn(self._permits, self._circuit, self._clock)
