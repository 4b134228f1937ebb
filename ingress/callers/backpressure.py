"""Back-pressure: while many rows of a caller wait for a commit, no further call of it is begun.

Its events would only wait behind those rows. They are not decoded, so they neither take memory nor are refused after
all that work.
"""

from typing import Final, Protocol

from ingress.commit.waiting_rows import WaitingRows

LEAST_ROWS: Final = 512
"""The least number of waiting rows at which a held caller is released: as many as are committed at the fastest while a
call of 500 events is decoded, so that commits do not run out of its rows."""


class Gate(Protocol):
    """Decides whether calls of a caller are begun."""

    def hold(self, caller: str) -> None:
        """Begin no further call of this caller. Calls that have begun go on."""
        ...

    def release(self, caller: str) -> None:
        """Begin the caller's calls again."""
        ...


class Backpressure:
    """Holds a caller once 2 x max(LEAST_ROWS, rows in flight) of its rows wait, and releases it at half of that."""

    def __init__(self, rows: WaitingRows, gate: Gate, *, rows_in_flight: int) -> None:
        self._rows = rows
        self._gate = gate
        self._release_at = max(LEAST_ROWS, rows_in_flight)
        self._hold_at = 2 * self._release_at
        self._held: set[str] = set()

    def grew(self, caller: str) -> None:
        """Call after rows of this caller were queued."""
        if self._rows.count_of(caller) >= self._hold_at and caller not in self._held:
            self._held.add(caller)
            self._gate.hold(caller)

    def shrank(self) -> None:
        """Call after rows, of any caller, were taken."""
        if self._held:
            for caller in [caller for caller in self._held if self._rows.count_of(caller) <= self._release_at]:
                self._held.remove(caller)
                self._gate.release(caller)


class OpenGate:
    """A Gate that holds no caller."""

    def hold(self, caller: str) -> None:
        del caller

    def release(self, caller: str) -> None:
        del caller
