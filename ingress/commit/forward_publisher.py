"""Publishing of forward messages behind the commits. A failed publish fails no call: the reconciler sends it later.

Events committed within a few milliseconds, or while a publish is in flight, gather and share the next publish. A
publish that fails leaves its ledger rows pending, and the worker's reconciler publishes them. After failures in a row
the publisher pauses like a circuit breaker and leaves everything to the reconciler, so that an outage does not fill
memory.
"""

from collections import deque
from collections.abc import Sequence
from typing import Final

import anyio
from anyio.abc import TaskGroup

from shared.backoff import exponential_backoff
from shared.clock import Clock
from shared.errors import PublishFailedError
from shared.events import forward_message
from shared.events.event import Event, EventLogRow
from shared.process.fault_points import fault_point
from shared.process.logs import get_logger, log_each
from shared.pubsub import Publisher

FAILURES_TO_PAUSE: Final = 2
"""One failure may be a lost packet; two in a row are an outage."""

# The pause doubles with each further failure. When it ends, one publish is tried as a probe.
FIRST_PAUSE_SECONDS: Final = 1.0
LONGEST_PAUSE_SECONDS: Final = 30.0

GATHER_SECONDS: Final = 0.01
"""How long committed events wait for others to share their publish; the client libraries' own default. No call waits
for it. Publishing a lone event by itself costs half a millisecond of CPU, for which the next call would wait."""

# Events that may gather behind a slow publish; more are left to the reconciler. One instance commits ten thousand while
# a publish takes all of its timeout. Bytes are counted by the text of the metadata, which is most of an event.
MAX_GATHERED_EVENTS: Final = 10_000
MAX_GATHERED_BYTES: Final = 32 * 1024 * 1024

# Events of one publish, which the event loop encodes in one go and one request carries within its timeout. A thousand
# is Pub/Sub's own limit (cloud.google.com/pubsub/quotas). A publish that has reached the bytes takes no further event.
MAX_PUBLISHED_EVENTS: Final = 1_000
MAX_PUBLISHED_BYTES: Final = 4 * 1024 * 1024

_log = get_logger()


class ForwardPublisher:
    """Publishes committed events from a task of the process's task group. Failures are logged, never raised."""

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
        """Whether publishes are left to the reconciler after failures in a row, up to the next one that succeeds."""
        return self._paused_until is not None

    def hand_over(self, rows: Sequence[EventLogRow]) -> None:
        """Queue the events of committed rows for the next publish. Never waits, never raises.

        If there is no room for all of them, none is queued, and the reconciler publishes them.
        """
        size = sum(len(row.metadata_json) for row in rows)
        has_room = len(self._gathered) + len(rows) <= MAX_GATHERED_EVENTS
        if not has_room or self._gathered_bytes + size > MAX_GATHERED_BYTES:
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
        except Exception:  # noqa: BLE001 - a bug of ours must not end the process: the reconciler publishes the events
            _log.exception("publish_crashed", events=len(events))

    async def publish(self, events: Sequence[Event]) -> bool:
        """Publish now. True if confirmed, False if it failed or was not tried: paused, or no events.

        Waits for Pub/Sub as long as the `Publisher` allows.
        """
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
        # This publish is the probe. The pause begins anew, so that no second one is tried while it runs.
        self._paused_until = self._clock.monotonic() + self._pause_seconds()
        return True

    def _failed(self) -> None:
        self._failures += 1
        if self._failures >= FAILURES_TO_PAUSE:
            self._paused_until = self._clock.monotonic() + self._pause_seconds()

    def _pause_seconds(self) -> float:
        failures = self._failures - FAILURES_TO_PAUSE + 1
        return exponential_backoff(FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, failures)
