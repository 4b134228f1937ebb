"""Messages that faults publish, past the ingress."""

import random
import uuid
from collections.abc import Iterator
from dataclasses import dataclass

from google.pubsub_v1 import PublisherAsyncClient, PubsubMessage
from google.pubsub_v1.services.publisher.transports import PublisherGrpcAsyncIOTransport

from deploy.local.emulators import local_channel
from deploy.local.stack import Stack
from shared.events import forward_message
from shared.events.event import Event
from tests.faults.evidence import StoredEvent


def message_of(stored: StoredEvent) -> PubsubMessage:
    """The forward message of an event, as the ingress publishes it."""
    return _message(
        Event(stored.event_id, stored.event_name, stored.event_type, stored.actor_id, stored.event_ts_nanos, {})
    )


def message_without_row() -> PubsubMessage:
    return _message(Event(str(uuid.uuid4()), "rowless", None, None, 1_700_000_000_000_000_000, {}))


def _message(event: Event) -> PubsubMessage:
    outgoing = forward_message.encode(event)
    return PubsubMessage(data=outgoing.data, attributes=outgoing.attributes)


@dataclass(frozen=True, slots=True)
class Poison:
    name: str
    data: bytes


def poisons(source: random.Random) -> Iterator[Poison]:
    """Bodies that are no forward message of this version."""
    good = message_without_row().data
    yield Poison("random bytes", source.randbytes(200))
    yield Poison("truncated", good[: len(good) // 2])
    yield Poison("another schema version", good.replace(b'"schemaVersion":1', b'"schemaVersion":99'))
    yield Poison("no event_id", b'{"schemaVersion":1,"eventName":"x","eventTs":"2026-01-01T00:00:00Z"}')
    yield Poison("bad UTF-8", good.replace(b"rowless", b"row\xff\xfeless"))
    yield Poison("not an object", b"[1,2,3]")
    yield Poison("large", b'{"pad":"' + b"x" * 3_000_000 + b'"}')
    yield Poison("nested", b"[" * 5000)


def poison_message(poison: Poison) -> PubsubMessage:
    return PubsubMessage(data=poison.data, attributes={"poison": poison.name})


async def publish_to(stack: Stack, topic: str, messages: list[PubsubMessage]) -> None:
    async with local_channel(stack.emulators.pubsub_host) as channel:
        publisher = PublisherAsyncClient(transport=PublisherGrpcAsyncIOTransport(channel=channel))
        for start in range(0, len(messages), 500):
            await publisher.publish(topic=stack.names.topic_path(topic), messages=messages[start : start + 500])
