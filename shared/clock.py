"""Time as a collaborator, so that a test can set it."""

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Wall-clock time and monotonic time."""

    def now_nanos(self) -> int:
        """Nanoseconds since the Unix epoch, UTC. May step; never measure a duration with it."""
        ...

    def now(self) -> datetime:
        """The same as an aware datetime, in UTC, to the microsecond."""
        ...

    def monotonic(self) -> float:
        """Seconds that never step back; only differences mean anything."""
        ...


class SystemClock:
    """The machine's clocks."""

    def now_nanos(self) -> int:
        return time.time_ns()

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.now_nanos() / 1e9, UTC)

    def monotonic(self) -> float:
        return time.monotonic()
