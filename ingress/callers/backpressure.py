"""Back-pressure: a caller whose rows wait for commits in numbers has no further call begun meanwhile.

What would only wait behind them is not decoded, and so is neither held in memory nor refused after all that work.
"""

from typing import Final, Protocol

from ingress.commit.waiting_rows import WaitingRows

LEAST_ROWS: Final = 512
"""Of a caller while its calls are begun again: as many as are committed at the fastest while one of 500 events is
decoded, so that commits never wait for it."""


class Gate(Protocol):
    """Whoever begins calls."""

    def hold(self, caller: str) -> None:
        """Begin no further call of this caller."""
        ...

    def release(self, caller: str) -> None:
        """Begin them again."""
        ...


class Backpressure:
    """Watches the rows that wait. Each caller may have two calls' or two commits' worth, and then waits for half."""

    def __init__(self, rows: WaitingRows, gate: Gate, *, rows_in_flight: int) -> None:
        self._rows = rows
        self._gate = gate
        self._least = max(LEAST_ROWS, rows_in_flight)
        self._most = 2 * self._least
        self._held: set[str] = set()

    def grew(self, caller: str) -> None:
        if self._rows.count_of(caller) >= self._most and caller not in self._held:
            self._held.add(caller)
            self._gate.hold(caller)

    def shrank(self) -> None:
        if self._held:
            for caller in [caller for caller in self._held if self._rows.count_of(caller) <= self._least]:
                self._held.remove(caller)
                self._gate.release(caller)


class OpenGate:
    """Lets everybody in."""

    def hold(self, caller: str) -> None:
        del caller

    def release(self, caller: str) -> None:
        del caller
