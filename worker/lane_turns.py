"""Turns: how many lanes work at once, and when one that waits for a slow answer lends its turn to another."""

from typing import Final

import anyio

from shared.clock import Clock
from worker.circuit import Circuit

SLOW_SECONDS: Final = 1.0
"""A batch that takes longer than this waits for an answer: 500 events take a tenth of it."""


class LaneTurn:
    """Leave to work; given up once."""

    def __init__(self, turns: anyio.Semaphore, circuit: Circuit, clock: Clock) -> None:
        self._turns = turns
        self._circuit = circuit
        self._clock = clock
        self._is_ours = True

    def give_up(self) -> None:
        if self._is_ours:
            self._is_ours = False
            self._turns.release()

    async def lend_when_slow(self) -> None:
        """Give the turn up once the work has taken long while others are confirmed; for a task beside the work.

        While nothing is confirmed it is Statsig that hangs, and more requests would only leave more copies.
        """
        while self._is_ours:
            await anyio.sleep(SLOW_SECONDS)
            if self._circuit.confirmed_since(self._clock.monotonic() - SLOW_SECONDS):
                self.give_up()


class LaneTurns:
    """Those of one process: as many as lanes may work at once, those aside that have lent theirs."""

    def __init__(self, lanes: int, *, circuit: Circuit, clock: Clock) -> None:
        self._free = anyio.Semaphore(lanes)
        self._circuit = circuit
        self._clock = clock

    async def take(self) -> LaneTurn:
        """Wait for a turn."""
        await self._free.acquire()
        return LaneTurn(self._free, self._circuit, self._clock)
