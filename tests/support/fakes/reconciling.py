"""Reconcilers of several processes over the fakes."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from shared.events import forward_message
from shared.events.event import Event
from shared.events.forward_message import EVENT_ID_ATTRIBUTE
from tests.support.fakes.manual_clock import ManualClock
from tests.support.fakes.memory_event_log import LedgerRow, MemoryEventLogRepository, MemoryStore
from tests.support.fakes.memory_forward_ledger import MemoryForwardLedger
from tests.support.fakes.memory_pubsub import MemoryTopic
from tests.support.fakes.memory_republish_ledger import MemoryRepublishLedger
from tests.support.fakes.worker_world import FixedRandom
from tests.support.sample_events import in_shard, sample_event, sample_row
from worker.dead_letter_publisher import DeadLetterPublisher
from worker.reconciler import Reconciler

HOUR = 3600.0
AFTER_SECONDS = 60.0
OLD_SECONDS = AFTER_SECONDS + 5
"""Rows of this age stay old enough for a whole round, which takes less than 5 s of real time."""

FAST = 1e9
"""Events a second: no bound in effect."""

INTERVAL_SECONDS = 0.01


class ReconcilingWorld:
    """The tables and both topics that reconcilers share."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.store = MemoryStore(self.clock)
        self.repository = MemoryEventLogRepository(self.store)
        self.ledger = MemoryForwardLedger(self.store)
        self.republishing = MemoryRepublishLedger(self.store)
        self.topic = MemoryTopic(self.clock)
        self.dead_letter_topic = MemoryTopic(self.clock)

    def reconciler(
        self,
        *,
        is_resting: Callable[[], bool] = lambda: False,
        after_seconds: float = AFTER_SECONDS,
        events_per_second: float = FAST,
        **options: Any,
    ) -> Reconciler:
        usual = {"rng": FixedRandom()}
        return Reconciler(
            dead_letters=DeadLetterPublisher(self.dead_letter_topic),
            ledger=self.ledger,
            republish_ledger=self.republishing,
            publisher=self.topic,
            is_resting=is_resting,
            after_seconds=after_seconds,
            interval_seconds=INTERVAL_SECONDS,
            events_per_second=events_per_second,
            **usual | options,
        )

    async def committed(self, count: int, *, shard: int | None = None) -> list[Event]:
        """Commits events without publishing them, as after a crash between both."""
        events = [sample_event(**({} if shard is None else {"event_id": in_shard(shard)})) for _ in range(count)]
        for event in events:
            await self.repository.append([sample_row(event)])
            self.clock.advance(0.001)
        return events

    @property
    def published(self) -> list[Event]:
        return [forward_message.decode(message.data) for message in self.topic.published]

    @property
    def published_ids(self) -> list[str]:
        return [message.attributes[EVENT_ID_ATTRIBUTE] for message in self.topic.published]

    def row(self, event_id: str) -> LedgerRow:
        return self.store.ledger[event_id]

    def rows(self) -> list[LedgerRow]:
        """Copies of the ledger's rows as they are now."""
        return [replace(row) for row in self.store.ledger.values()]


def by_id(events: list[Event]) -> list[Event]:
    return sorted(events, key=lambda event: event.event_id)
