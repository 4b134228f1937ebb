"""Time, as a collaborator, so that a test decides what time it is."""

import time
from typing import Protocol


class Clock(Protocol):
    """Where the time comes from."""

    def now_nanos(self) -> int:
        """Nanoseconds since the Unix epoch, UTC. May step; never measure a duration with it."""
        ...

    def monotonic(self) -> float:
        """Seconds that never step back; only differences mean anything."""
        ...


class SystemClock:
    """The machine's clocks."""

    def now_nanos(self) -> int:
        return time.time_ns()

    def monotonic(self) -> float:
        return time.monotonic()
