"""Pub/Sub and its fake behind one interface, for tests that hold for both."""

import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, Protocol

from google.pubsub_v1 import DeadLetterPolicy, PublisherAsyncClient, RetryPolicy, SubscriberAsyncClient, Topic
from google.pubsub_v1 import Subscription as Resource

from shared.process.settings import Settings, from_environment
from shared.pubsub import Publisher, PubSubPublisher, open_publisher_client, open_subscriber_client
from tests.support.fakes.manual_clock import ManualClock
from tests.support.fakes.memory_pubsub import MemorySubscription, MemoryTopic
from worker.subscription import PubSubSubscription, Subscription

MAX_ATTEMPTS = 5
"""Delivery attempts: the fewest that Pub/Sub offers."""

BACKOFF_SECONDS = 0.2
ACK_DEADLINE_SECONDS = 10
"""The shortest deadline that Pub/Sub offers."""


class Broker(Protocol):
    publisher: Publisher
    subscription: Subscription
    """Has native dead-lettering, so that it counts deliveries, and no backoff."""

    other: Subscription
    """Has the same topic, no dead-lettering, and a backoff."""

    dead_letters: Subscription

    def absent_topic(self) -> Publisher: ...

    def absent_subscription(self) -> Subscription: ...

    def time_passes(self, seconds: float) -> None:
        """Advances the clock of the fake; on the emulator the next pull waits."""
        ...


class MemoryBroker:
    def __init__(self) -> None:
        self._clock = ManualClock()
        topic, dead_letter_topic = MemoryTopic(self._clock), MemoryTopic(self._clock)
        self.publisher: Publisher = topic
        self.subscription: Subscription = MemorySubscription(
            topic,
            minimum_backoff_seconds=0,
            dead_letter_topic=dead_letter_topic,
            max_delivery_attempts=MAX_ATTEMPTS,
        )
        self.other: Subscription = MemorySubscription(topic, minimum_backoff_seconds=BACKOFF_SECONDS)
        self.dead_letters: Subscription = MemorySubscription(dead_letter_topic)

    def absent_topic(self) -> Publisher:
        topic = MemoryTopic(self._clock)
        topic.delete()
        return topic

    def absent_subscription(self) -> Subscription:
        subscription = MemorySubscription(MemoryTopic(self._clock))
        subscription.delete()
        return subscription

    def time_passes(self, seconds: float) -> None:
        self._clock.advance(seconds)


class PubSubBroker:
    """Topics and subscriptions of its own: those of the local stack back off for at least ten seconds."""

    def __init__(self, publishing: PublisherAsyncClient, subscribing: SubscriberAsyncClient, project: str) -> None:
        self._publishing = publishing
        self._subscribing = subscribing
        self._project = f"projects/{project}"
        self._suffix = uuid.uuid4().hex[:12]
        self.publisher: Publisher = self._publisher("topic")
        self.subscription: Subscription = self._subscription("subscription")
        self.other: Subscription = self._subscription("other")
        self.dead_letters: Subscription = self._subscription("dead-letters")

    async def create(self) -> None:
        for topic in ("topic", "dead-letter-topic"):
            await self._publishing.create_topic(Topic(name=self._path("topics", topic)))
        retry = RetryPolicy(
            minimum_backoff=timedelta(seconds=BACKOFF_SECONDS), maximum_backoff=timedelta(seconds=BACKOFF_SECONDS)
        )
        dead_letters = DeadLetterPolicy(
            dead_letter_topic=self._path("topics", "dead-letter-topic"), max_delivery_attempts=MAX_ATTEMPTS
        )
        await self._subscribe("dead-letters", "dead-letter-topic")
        await self._subscribe("other", "topic", retry_policy=retry)
        await self._subscribe("subscription", "topic", dead_letter_policy=dead_letters)

    async def delete(self) -> None:
        for subscription in ("dead-letters", "other", "subscription"):
            await self._subscribing.delete_subscription(subscription=self._path("subscriptions", subscription))
        for topic in ("topic", "dead-letter-topic"):
            await self._publishing.delete_topic(topic=self._path("topics", topic))

    def absent_topic(self) -> Publisher:
        return self._publisher("absent")

    def absent_subscription(self) -> Subscription:
        return self._subscription("absent")

    def time_passes(self, seconds: float) -> None:
        """Nothing: the pull that follows waits for what comes."""

    def _path(self, kind: str, name: str) -> str:
        return f"{self._project}/{kind}/{name}-{self._suffix}"

    def _publisher(self, name: str) -> PubSubPublisher:
        return PubSubPublisher(self._publishing, topic=self._path("topics", name), timeout_seconds=5)

    def _subscription(self, name: str) -> PubSubSubscription:
        return PubSubSubscription(self._subscribing, subscription=self._path("subscriptions", name))

    async def _subscribe(self, name: str, topic: str, **fields: Any) -> None:
        await self._subscribing.create_subscription(
            Resource(
                name=self._path("subscriptions", name),
                topic=self._path("topics", topic),
                ack_deadline_seconds=ACK_DEADLINE_SECONDS,
                **fields,
            )
        )


@asynccontextmanager
async def pubsub_broker(environment: Mapping[str, str]) -> AsyncIterator[PubSubBroker]:
    settings = from_environment(Settings, environment)
    async with open_publisher_client(settings) as publishing, open_subscriber_client(settings) as subscribing:
        broker = PubSubBroker(publishing, subscribing, settings.google_cloud_project)
        await broker.create()
        yield broker
        await broker.delete()
