"""The backlog position: how far this process has come among the messages of the subscription.

While a backlog is worked off, an event may be pending for hours, and its message still be to come. The reconciler asks
here, and publishes no second message for such an event: it would be claimed in vain.
"""

from collections import deque
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from shared.clock import Clock
from worker.subscription import ReceivedMessage

WINDOW_SECONDS: Final = 10.0
"""The messages that count: those taken within so many seconds before the latest one."""

MAX_MESSAGES: Final = 1000
"""The most messages that count, the latest ones: two batches."""

VALID_SECONDS: Final = 90.0
"""How long a position is valid: a batch may take as long as a claim lasts, and then no lane takes another."""


class BacklogPosition:
    """One per process; for the event loop's thread."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._taken: deque[tuple[float, datetime]] = deque(maxlen=MAX_MESSAGES)
        """When each message was taken (monotonic), and when it was published."""

    def note(self, messages: Sequence[ReceivedMessage]) -> None:
        """Note the messages that a lane has taken to forward them.

        Redeliveries count for nothing: they come in any order, some for days. They are known by the delivery attempt,
        which Pub/Sub counts where the subscription has native dead-lettering.
        """
        now = self._clock.monotonic()
        self._taken.extend((now, message.publish_time) for message in messages if message.delivery_attempt <= 1)

    def nothing_waits(self) -> None:
        """Forget the position: a lane has waited for messages and got none, so there is no backlog."""
        self._taken.clear()

    @property
    def current(self) -> datetime | None:
        """The time, by Pub/Sub's clock, at which the messages that are forwarded now were published.

        Messages published later are likely still to come. None without a backlog, and if no message was taken for
        VALID_SECONDS.
        """
        if not self._taken:
            return None
        latest, _ = self._taken[-1]
        if self._clock.monotonic() - latest > VALID_SECONDS:
            return None
        # Pub/Sub gives no order. A median does not follow the few that come early or late.
        published = sorted(at for taken, at in self._taken if latest - taken <= WINDOW_SECONDS)
        return published[len(published) // 2]
