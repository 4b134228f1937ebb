"""Forwards events that were stored only, in steps: give them pending ledger rows; publish.

The first part is one transaction and comes before the publish, so that a process that dies anywhere loses nothing: the
reconciler publishes events that are pending and were not published. Where two operators run it at once, that
transaction gives each event to one of them.
"""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Final

import anyio
import stamina

from shared.errors import StorageUnavailableError
from shared.events import forward_message
from shared.events.late_forward_ledger import Admitted, LateForwardLedger, StoredChoice, StoredEvent
from shared.process.fault_points import fault_point
from shared.pubsub import Publisher
from worker.operators.forward_outcomes import Outcome, forecast, outcome_of

PAGE_EVENTS: Final = 500
"""Events of a shard that are read at a time, without their metadata."""

STEPS_PER_SECOND: Final = 4

LARGEST_STEP: Final = 100
"""Events of one transaction and one publish, at most. A kill leaves one step half done; Ctrl-C waits for one."""

PATIENCE_SECONDS: Final = 20.0
"""How long a call to Spanner is retried before the command fails."""


async def stored_pages(ledger: LateForwardLedger, choice: StoredChoice) -> AsyncIterator[Sequence[StoredEvent]]:
    """All chosen events, shard by shard, the oldest of a shard first.

    Raises:
        StorageUnavailableError: no answer within PATIENCE_SECONDS.
    """
    for shard in await ledger.shards():
        page: Sequence[StoredEvent] = ()
        while page := await _page(ledger, choice, shard, after=page[-1] if page else None):
            yield page
            if len(page) < PAGE_EVENTS:
                break


async def _page(
    ledger: LateForwardLedger, choice: StoredChoice, shard: int, *, after: StoredEvent | None
) -> Sequence[StoredEvent]:
    async for attempt in stamina.retry_context(on=StorageUnavailableError, attempts=None, timeout=PATIENCE_SECONDS):
        with attempt:
            return await ledger.stored(choice, shard=shard, after=after, limit=PAGE_EVENTS)
    raise AssertionError  # not reached: the context raises the last attempt's error


class LateForwarding:
    """One run. `counts` holds how many events had each outcome so far."""

    def __init__(
        self, *, ledger: LateForwardLedger, topic: Publisher, events_per_second: float, limit: int | None = None
    ) -> None:
        """`limit` is how many events are forwarded at most; None is no limit."""
        self._ledger = ledger
        self._topic = topic
        self._events_per_second = events_per_second
        self._limit = limit
        self._step_events = max(1, min(LARGEST_STEP, int(events_per_second / STEPS_PER_SECOND)))
        self._began = 0.0
        self._handled = 0
        self.counts: Counter[Outcome] = Counter()

    async def forward(self, choice: StoredChoice, advance: Callable[[int], None]) -> None:
        """Forward the chosen events at the given rate. When it is cancelled it finishes the current step.

        `advance` is called with the number of events of each step that is done.

        Raises:
            StorageUnavailableError, PublishFailedError: a step failed, and its events have no outcome. The reconciler
                publishes those that the step made pending.
        """
        self._began = anyio.current_time()
        async for page in stored_pages(self._ledger, choice):
            chosen: list[str] = []
            for event in page:
                if (outcome := forecast(event)) is Outcome.FORWARDED:
                    chosen.append(event.event_id)
                else:
                    self.counts[outcome] += 1
            room = len(chosen) if self._limit is None else max(0, self._limit - self._handled)
            self.counts[Outcome.LEFT] += len(chosen[room:])
            await self._forward_all(chosen[:room], advance)

    async def _forward_all(self, event_ids: Sequence[str], advance: Callable[[int], None]) -> None:
        for start in range(0, len(event_ids), self._step_events):
            await anyio.sleep_until(self._began + self._handled / self._events_per_second)
            step = event_ids[start : start + self._step_events]
            with anyio.CancelScope(shield=True):  # each call in it has its own timeout
                await self._forward(step)
            self._handled += len(step)
            advance(len(step))

    async def _forward(self, event_ids: Sequence[str]) -> None:
        found, is_retried = await self._admit(event_ids)
        fault_point("forward_after_admit")
        outcomes = {event_id: outcome_of(each.found, is_retried=is_retried) for event_id, each in found.items()}
        messages = [
            forward_message.encode(each.event)
            for event_id, each in found.items()
            if outcomes[event_id] is Outcome.FORWARDED and each.event is not None
        ]
        if messages:
            await self._topic.publish(messages)
            fault_point("forward_after_publish")
        self.counts.update(outcomes.values())

    async def _admit(self, event_ids: Sequence[str]) -> tuple[dict[str, Admitted], bool]:
        """What was found, and whether it took several tries, of which an earlier one may have been written."""
        async for attempt in stamina.retry_context(on=StorageUnavailableError, attempts=None, timeout=PATIENCE_SECONDS):
            with attempt:
                return await self._ledger.admit(event_ids), attempt.num > 1
        raise AssertionError  # not reached: the context raises the last attempt's error
