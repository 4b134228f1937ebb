"""What a worker counts between two of its reports. Plain numbers, so that counting costs nothing beside the work."""

from datetime import UTC, datetime

from shared.clock import Clock, SystemClock


class Tally:
    """One process's; for the event loop's thread."""

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
        self.last_failure_at = datetime.fromtimestamp(self._clock.now_nanos() / 1e9, UTC)

    def start_anew(self) -> None:
        """After a report. What failed last stays known."""
        self.delivered = self.dead_lettered = self.failed_requests = 0
