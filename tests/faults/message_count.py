"""Counts the forward messages of each event, with a subscription of the lab's own."""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from google.pubsub_v1 import SubscriberAsyncClient
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcAsyncIOTransport

from deploy.local.emulators import local_channel
from deploy.local.stack import Stack
from shared.events.forward_message import EVENT_ID_ATTRIBUTE
from tests.faults.evidence import all_messages

LEASE_SECONDS: Final = 600
"""Pub/Sub's longest ack deadline: counted messages must not be redelivered while the others are counted."""


@asynccontextmanager
async def counted_messages(stack: Stack) -> AsyncIterator[Counter[str]]:
    """Counts, by event_id, the messages published in the block; the counter is filled at its end."""
    counts: Counter[str] = Counter()
    name = f"{stack.names.forward_topic}-count"
    path = stack.names.subscription_path(name)
    async with local_channel(stack.emulators.pubsub_host) as channel:
        subscriber = SubscriberAsyncClient(transport=SubscriberGrpcAsyncIOTransport(channel=channel))
        topic = stack.names.topic_path(stack.names.forward_topic)
        await subscriber.create_subscription(name=path, topic=topic, ack_deadline_seconds=LEASE_SECONDS)
        try:
            yield counts
            counts.update(message.attributes[EVENT_ID_ATTRIBUTE] for message in await all_messages(stack, name))
        finally:
            await subscriber.delete_subscription(subscription=path)
