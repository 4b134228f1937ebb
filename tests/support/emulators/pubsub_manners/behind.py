"""Our adapters behind a double of Pub/Sub, for the double's own tests."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, Final

import anyio
import pytest
from google.pubsub_v1 import PublisherAsyncClient, SubscriberAsyncClient

from deploy.local.emulators import Emulators
from deploy.local.provision import StackNames
from shared.events.forward_message import OutgoingMessage
from shared.process.settings import Settings, from_environment
from shared.pubsub import PubSubPublisher, open_publisher_client, open_subscriber_client
from tests.support.emulators.brokers import ACK_DEADLINE_SECONDS, PubSubBroker, pubsub_broker
from tests.support.emulators.pubsub_manners.double import PubSubDouble, pubsub_double
from tests.support.emulators.pubsub_manners.manners import KIND, Counts, Manners
from worker.subscription import PubSubSubscription, ReceivedMessage, Subscription

AT_ONCE: Final = 0.3
"""Seconds in which a pull brings only what is there already."""

WITHIN: Final = 5.0
PATIENCE_SECONDS: Final = 2.0 * ACK_DEADLINE_SECONDS
"""For messages that may be redelivered first."""


@dataclass(frozen=True)
class Behind:
    """Our adapters behind a double, on topic and subscriptions of the test's own."""

    double: PubSubDouble
    publishing: PublisherAsyncClient
    subscribing: SubscriberAsyncClient
    publisher: PubSubPublisher
    subscription: PubSubSubscription
    """Has native dead-lettering."""

    other: PubSubSubscription
    """Has none."""

    direct: PubSubBroker
    """The same topic and subscriptions on the emulator itself."""

    @property
    def counts(self) -> Counts:
        return self.double.counts

    async def is_empty(self) -> bool:
        """Whether nothing can be pulled. Asks the emulator itself, with a pull that does not wait.

        The emulator goes on with a waiting pull that was given up, which would take the messages asked about.
        """
        name = self.direct._path("subscriptions", "subscription")
        return await self.double.pulling._upstream.pull_now(name, 10) == []

    async def publish(self, count: int) -> None:
        await self.publisher.publish([OutgoingMessage(f"{number:03}".encode(), {}) for number in range(count)])


@asynccontextmanager
async def behind_double(emulators: Emulators, manners: Manners) -> AsyncIterator[Behind]:
    environment = StackNames.unique("m").variables | emulators.variables
    async with pubsub_broker(environment) as direct, pubsub_double(emulators.pubsub_host, manners) as double:
        settings = from_environment(Settings, environment | {"PUBSUB_EMULATOR_HOST": double.address})
        async with open_publisher_client(settings) as publishing, open_subscriber_client(settings) as subscribing:
            yield Behind(
                double=double,
                publishing=publishing,
                subscribing=subscribing,
                publisher=PubSubPublisher(publishing, topic=direct._path("topics", "topic"), timeout_seconds=WITHIN),
                subscription=PubSubSubscription(
                    subscribing, subscription=direct._path("subscriptions", "subscription")
                ),
                other=PubSubSubscription(subscribing, subscription=direct._path("subscriptions", "other")),
                direct=direct,
            )


def only(**settings: Any) -> pytest.MarkDecorator:
    """Runs the test behind a double that has these manners and no others."""
    return pytest.mark.parametrize("behind", [replace(KIND, **settings)], indirect=True, ids=["-".join(settings)])


async def pulls_of(subscription: Subscription, count: int, *, each: int = 1000) -> list[list[ReceivedMessage]]:
    """Pulls until `count` messages have come, and returns what each pull brought."""
    pulls: list[list[ReceivedMessage]] = []
    with anyio.fail_after(PATIENCE_SECONDS):
        while sum(map(len, pulls)) < count:
            # A pull that times out while its answer is on the way would leave messages leased.
            pulls.append(await subscription.pull(max_messages=each, wait_seconds=PATIENCE_SECONDS))
    return pulls


async def collect(subscription: Subscription, count: int) -> list[ReceivedMessage]:
    return list(chain(*await pulls_of(subscription, count)))


def texts(received: Iterable[ReceivedMessage]) -> list[str]:
    return [each.data.decode() for each in received]


def numbered(count: int) -> list[str]:
    return [f"{number:03}" for number in range(count)]
