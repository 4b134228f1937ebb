"""Publishing of forward messages, for which no call waits.

What is committed within a few milliseconds, or while one publish is in flight, gathers, and the next publish takes all
of it. A publish that fails leaves its ledger rows pending, and the worker's reconciler publishes them later. After some
failures in a row the publisher does not even try for a while, so that an outage does not fill the memory.
"""

from collections import deque
from collections.abc import Sequence
from typing import Final

import anyio
from anyio.abc import TaskGroup

from shared.clock import Clock
from shared.errors import PublishFailedError
from shared.events import forward_message
from shared.events.event import Event, EventLogRow
from shared.process.fault_points import fault_point
from shared.process.logs import get_logger, log_each
from shared.pubsub import Publisher

FAILURES_TO_PAUSE: Final = 2
"""One failure may be a lost packet; two in a row are an outage."""

FIRST_PAUSE_SECONDS: Final = 1.0
LONGEST_PAUSE_SECONDS: Final = 30.0
"""The pause doubles from the one to the other. Each ends with one publish as a probe."""

GATHER_SECONDS: Final = 0.01
"""How long what is committed waits for more to be published with it: the client libraries' own default. No call waits
for it, and a publish of its own costs a lone call's event half a millisecond of CPU, which the next call waits for."""

MAX_GATHERED_EVENTS: Final = 10_000
MAX_GATHERED_BYTES: Final = 32 * 1024 * 1024
"""Behind a publish that is slow; by the metadata's text, which is most of an event. More is left to the reconciler. Ten
thousand are what one instance commits while a publish takes its whole time."""

MAX_PUBLISHED_EVENTS: Final = 1_000
MAX_PUBLISHED_BYTES: Final = 4 * 1024 * 1024
"""Of one publish, by the metadata's text. A thousand is Pub/Sub's own limit (cloud.google.com/pubsub/quotas); the event
loop encodes them in one go, and one request takes them within the publish's time."""

_log = get_logger()


class ForwardPublisher:
    """Publishes what is handed over, in the process's task group; never raises for Pub/Sub's sake."""

    def __init__(
        self, publisher: Publisher, clock: Clock, *, task_group: TaskGroup, gather_seconds: float = GATHER_SECONDS
    ) -> None:
        self._publisher = publisher
        self._clock = clock
        self._gather_seconds = gather_seconds
        self._task_group = task_group
        self._gathered: deque[EventLogRow] = deque()
        self._gathered_bytes = 0
        self._is_publishing = False
        self._failures = 0
        self._paused_until: float | None = None

    @property
    def is_paused(self) -> bool:
        return self._paused_until is not None

    def hand_over(self, rows: Sequence[EventLogRow]) -> None:
        """Have committed rows' events published soon. Never waits, never fails: what there is no room for is left."""
        size = sum(len(row.metadata_json) for row in rows)
        room = len(self._gathered) + len(rows) <= MAX_GATHERED_EVENTS
        if not room or self._gathered_bytes + size > MAX_GATHERED_BYTES:
            _log.warning("publish_left_to_reconciler", events=len(rows), gathered=len(self._gathered))
            return
        self._gathered.extend(rows)
        self._gathered_bytes += size
        if self._gathered and not self._is_publishing:
            self._is_publishing = True
            self._task_group.start_soon(self._publish_while_any_wait)

    async def _publish_while_any_wait(self) -> None:
        try:
            while self._gathered:
                if self._gather_seconds:
                    await anyio.sleep(self._gather_seconds)
                await self._publish_or_leave(self._take())
        finally:
            self._is_publishing = False

    def _take(self) -> list[Event]:
        events: list[Event] = []
        size = 0
        while self._gathered and len(events) < MAX_PUBLISHED_EVENTS and size < MAX_PUBLISHED_BYTES:
            row = self._gathered.popleft()
            size += len(row.metadata_json)
            events.append(row.event)
        self._gathered_bytes -= size
        return events

    async def _publish_or_leave(self, events: Sequence[Event]) -> None:
        try:
            await self.publish(events)
        except Exception:  # noqa: BLE001 - the next line says why
            # A bug of ours: the rows are committed and pending, so nobody has anything to fear from it.
            _log.exception("publish_crashed", events=len(events))

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
        log_each(_log, "event_published", (event.event_id for event in events))
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
