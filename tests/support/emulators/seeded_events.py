"""Events and dead letters in any state and quantity, as ingress, worker and Pub/Sub leave them."""

import json
import random
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from google.pubsub_v1 import PublisherAsyncClient, PubsubMessage, SubscriberAsyncClient

from shared.events import forward_message
from shared.events.attempt_history import HistoryEntry, HistoryKind, extended
from shared.events.audit_trail import AuditEntry
from shared.events.dead_letter_table import DeadLetterSummary, LetterChoice
from shared.events.event import RESERVED_METADATA_KEY, Event
from shared.events.forward_ledger import LEDGER_TABLE, DeliveryRecord
from shared.process.settings import OperatorSettings, from_environment
from shared.pubsub import (
    PubSubPublisher,
    open_publisher_client,
    open_subscriber_client,
    subscription_path,
    topic_path,
)
from shared.spanner.audit_trail import SpannerAuditTrail
from shared.spanner.complaints import SpannerComplaintTable
from shared.spanner.connection import open_database
from shared.spanner.dead_letters import SpannerDeadLetterTable
from shared.spanner.event_log import SpannerEventLogRepository
from shared.spanner.forward_ledger import SpannerForwardLedger
from shared.spanner.process_states import SpannerProcessStates
from shared.spanner.rules import SpannerRuleTable
from tests.support.sample_events import sample_event, sample_row
from worker.dead_letter_collector import MESSAGES_PER_PULL
from worker.dead_letter_messages import read_dead_letter
from worker.dead_letter_publisher import DeadLetter, DeadLetterPublisher
from worker.subscription import PubSubSubscription, ReceivedMessage

ROWS_PER_COMMIT = 400
LONG_AGO = timedelta(days=2)


@dataclass
class SeededEvents:
    """Writes events to Spanner, and their dead letters to the dead-letter topic."""

    settings: OperatorSettings
    database: Any
    publisher: PublisherAsyncClient
    subscriber: SubscriberAsyncClient

    def __post_init__(self) -> None:
        self.repository = SpannerEventLogRepository(self.database, timeout_seconds=20)
        self.ledger = SpannerForwardLedger(self.database, timeout_seconds=20, one_at_a_time=True)
        self.rules = SpannerRuleTable(self.ledger.transactions, timeout_seconds=20)
        self.processes = SpannerProcessStates(self.database, timeout_seconds=20)
        self.complaints = SpannerComplaintTable(self.database, timeout_seconds=20)
        self._topic = topic_path(self.settings, self.settings.dead_letter_topic)
        self._letters = DeadLetterPublisher(PubSubPublisher(self.publisher, topic=self._topic, timeout_seconds=20))
        self.subscription = PubSubSubscription(
            self.subscriber, subscription=subscription_path(self.settings, self.settings.dead_letter_subscription)
        )

    async def log(
        self, count: int, *, caller: str = "caller@example.com", forward: bool = True, **fields: Any
    ) -> list[Event]:
        """Commits events, which are pending then; without `forward` they are stored only."""
        events = [sample_event(caller=caller, **fields) for _ in range(count)]
        own = {"caller": {"principal": caller, "source": "cloud_run_iam"}}
        for start in range(0, count, ROWS_PER_COMMIT):
            part = events[start : start + ROWS_PER_COMMIT]
            await self.repository.append(
                [
                    sample_row(e, forward=forward, metadata_json=json.dumps(e.metadata | {RESERVED_METADATA_KEY: own}))
                    for e in part
                ]
            )
        return events

    async def dead_letter(self, events: Sequence[Event], reason: str, *, at: datetime | None = None) -> None:
        """As the worker does: publishes dead letters with a reason, then settles the events as DEAD."""
        status = int(reason.removeprefix("http_")) if reason.startswith("http_") else None
        at = at or datetime.now(UTC)
        letters = [DeadLetter(_received(forward_message.encode(e)), reason, status, 1, at) for e in events]
        for start in range(0, len(events), ROWS_PER_COMMIT):
            part = events[start : start + ROWS_PER_COMMIT]
            await self._letters.publish(letters[start : start + ROWS_PER_COMMIT])
            await self.settle_dead(part, reason, status)

    async def settle_dead(self, events: Sequence[Event], reason: str, status: int | None = None) -> None:
        """Settles as DEAD without a dead letter, as if it had expired."""
        token = str(uuid.uuid4())
        entries = await self.ledger.claim([e.event_id for e in events], token=token, seconds=60)
        at = datetime.now(UTC)
        rejected = HistoryEntry(HistoryKind.ATTEMPT, at, "rejected", reason, status)
        noted = [
            DeliveryRecord(e.event_id, e.attempts + 1, 0, at, reason, status, extended(e.history, rejected))
            for e in entries.values()
        ]
        await self.ledger.settle_dead(noted, token=token)

    async def dead_letter_natively(self, events: Sequence[Event]) -> None:
        """As Pub/Sub does: publishes dead letters without our reason, and the ledger rows stay pending."""
        count = {"CloudPubSubDeadLetterSourceDeliveryCount": "5", "CloudPubSubDeadLetterSourceSubscription": "forward"}
        messages = [forward_message.encode(event) for event in events]
        await self._publish([PubsubMessage(data=m.data, attributes=m.attributes | count) for m in messages])

    async def publish_poison(self, count: int) -> None:
        rng = random.Random(4)
        letters = [
            DeadLetter(
                ReceivedMessage("", "", rng.randbytes(40), {}, datetime.now(UTC), 1),
                "undecodable",
                None,
                0,
                datetime.now(UTC),
            )
            for _ in range(count)
        ]
        await self._letters.publish(letters)

    async def publish_letters(self, events: Sequence[Event], reason: str) -> None:
        """Publishes dead letters and leaves the ledger alone."""
        received = [_received(forward_message.encode(event)) for event in events]
        await self._letters.publish([DeadLetter(m, reason, None, 1, datetime.now(UTC)) for m in received])

    async def set_replays(self, events: Sequence[Event], replays: int) -> None:
        async with self.database.batch() as batch:
            batch.update(LEDGER_TABLE, ("event_id", "replays"), [(e.event_id, replays) for e in events])

    async def settle_delivered(self, events: Sequence[Event]) -> None:
        at = datetime.now(UTC)
        confirmed = HistoryEntry(HistoryKind.ATTEMPT, at, "confirmed", "http_202", 202)
        await self.ledger.settle_delivered(
            [DeliveryRecord(e.event_id, 1, 0, at, "http_202", 202, (confirmed,)) for e in events]
        )

    async def collect(self) -> None:
        """Collects dead letters, as workers do, until the subscription is empty."""
        table = SpannerDeadLetterTable(self.ledger.transactions, timeout_seconds=20)
        while messages := await self.subscription.pull(max_messages=1000, wait_seconds=1.0):
            letters = [read_dead_letter(message) for message in messages]
            for start in range(0, len(letters), MESSAGES_PER_PULL):
                await table.collect(letters[start : start + MESSAGES_PER_PULL])
            await self.subscription.acknowledge([message.ack_id for message in messages])

    async def open_letters(self) -> list[DeadLetterSummary]:
        """The open letters in the table, the oldest first."""
        table = SpannerDeadLetterTable(self.ledger.transactions, timeout_seconds=20)
        return await table.open(LetterChoice())

    async def drain_letters(self, *, retry_after_remaining_seconds: float = 1.0) -> list[ReceivedMessage]:
        """Pulls and acknowledges all messages of the dead-letter subscription that are not leased."""
        found: list[ReceivedMessage] = []
        while messages := await self.subscription.pull(max_messages=1000, wait_seconds=retry_after_remaining_seconds):
            await self.subscription.acknowledge([message.ack_id for message in messages])
            found += messages
        return found

    async def forwarded(self) -> list[str]:
        """Pulls and acknowledges all messages of the forward subscription; the event ids."""
        path = subscription_path(self.settings, self.settings.forward_subscription)
        subscription = PubSubSubscription(self.subscriber, subscription=path)
        found: list[str] = []
        while messages := await subscription.pull(max_messages=1000, wait_seconds=0.5):
            await subscription.acknowledge([message.ack_id for message in messages])
            found += [forward_message.decode(message.data).event_id for message in messages]
        return sorted(found)

    async def audited(self) -> list[AuditEntry]:
        """The entries of the audit trail, the latest first."""
        trail = SpannerAuditTrail(self.ledger.transactions, timeout_seconds=20)
        return await trail.latest(since=datetime.now(UTC) - LONG_AGO, limit=100)

    async def states(self) -> dict[str, tuple[str, int]]:
        """State and replays of every event."""
        async with self.database.snapshot() as snapshot:
            rows = await snapshot.execute_sql(f"SELECT event_id, state, replays FROM {LEDGER_TABLE}")  # noqa: S608
            return {row[0]: (row[1], row[2]) async for row in rows}

    async def _publish(self, messages: Sequence[PubsubMessage]) -> None:
        for start in range(0, len(messages), 1000):
            await self.publisher.publish(topic=self._topic, messages=list(messages[start : start + 1000]))


def _received(message: forward_message.OutgoingMessage) -> ReceivedMessage:
    return ReceivedMessage("", "m-1", message.data, message.attributes, datetime.now(UTC) - timedelta(minutes=1), 1)


@asynccontextmanager
async def seeded_events(environment: Mapping[str, str]) -> AsyncIterator[SeededEvents]:
    settings = from_environment(OperatorSettings, environment)
    async with (
        open_database(settings) as database,
        open_publisher_client(settings) as publisher,
        open_subscriber_client(settings) as subscriber,
    ):
        yield SeededEvents(settings, database, publisher, subscriber)
