"""The tally: what a worker counts between two of its reports. Plain numbers, so that counting costs next to nothing."""

from datetime import datetime

from shared.clock import Clock, SystemClock


class Tally:
    """One per process; for the event loop's thread."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self.delivered = 0
        self.dead_lettered = 0
        self.failed_requests = 0
        self.last_failure: str | None = None
        self.last_failure_at: datetime | None = None

    def failed(self, reason: str) -> None:
        """A request to Statsig was not confirmed."""
        self.failed_requests += 1
        self.last_failure = reason
        self.last_failure_at = self._clock.now()

    def reset(self) -> None:
        """Begin to count for the next report. The last failure is kept."""
        self.delivered = self.dead_lettered = self.failed_requests = 0
