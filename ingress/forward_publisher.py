"""Publishing of forward messages, from which a committed call has nothing to fear.

A publish that fails or is slow leaves its ledger rows pending, and the worker's reconciler publishes them later. After
some failures in a row the publisher does not even try for a while, so that a Pub/Sub outage costs callers no time.
"""

from collections.abc import Sequence
from typing import Final

from shared import forward_message
from shared.clock import Clock
from shared.errors import PublishFailedError
from shared.event import Event
from shared.fault_points import fault_point
from shared.logs import get_logger
from shared.pubsub import Publisher

FAILURES_TO_PAUSE: Final = 2
"""One failure may be a lost packet; two in a row are an outage."""

FIRST_PAUSE_SECONDS: Final = 1.0
LONGEST_PAUSE_SECONDS: Final = 30.0
"""The pause doubles from the one to the other. Each ends with one publish as a probe."""

_log = get_logger()


class ForwardPublisher:
    """Publishes events' forward messages in one request per call; never raises for Pub/Sub's sake."""

    def __init__(self, publisher: Publisher, clock: Clock) -> None:
        self._publisher = publisher
        self._clock = clock
        self._failures = 0
        self._paused_until: float | None = None

    @property
    def is_paused(self) -> bool:
        return self._paused_until is not None

    async def publish(self, events: Sequence[Event]) -> bool:
        """Publish; False where it failed or was not tried. Waits as long as one publish may take."""
        if not events or not self._may_try():
            return False
        try:
            await self._publisher.publish([forward_message.encode(event) for event in events])
        except PublishFailedError as error:
            self._failed()
            _log.warning("publish_failed", error=str(error), events=len(events), failures_in_a_row=self._failures)
            return False
        fault_point("after_publish")
        self._failures = 0
        self._paused_until = None
        for event in events:
            _log.debug("event_published", event_id=event.event_id)
        return True

    def _may_try(self) -> bool:
        if self._paused_until is None:
            return True
        if self._clock.monotonic() < self._paused_until:
            return False
        # This one is the probe; those that come while it runs are not.
        self._paused_until = self._clock.monotonic() + self._pause_seconds()
        return True

    def _failed(self) -> None:
        self._failures += 1
        if self._failures >= FAILURES_TO_PAUSE:
            self._paused_until = self._clock.monotonic() + self._pause_seconds()

    def _pause_seconds(self) -> float:
        doublings = max(0, self._failures - FAILURES_TO_PAUSE)
        return float(min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2.0 ** min(doublings, 10)))
