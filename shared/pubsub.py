"""Pub/Sub over grpc.aio: clients, and the publisher, which translates Pub/Sub's publish errors into ours.

The publisher uses the generated client. The hand-written one of the same package works through threads and waits 10 ms
to batch a lone message; our batches are complete before they get here.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, Protocol

import anyio
import grpc
from google.api_core import exceptions as google
from google.pubsub_v1 import PublisherAsyncClient, PublishRequest, SubscriberAsyncClient
from google.pubsub_v1.services.publisher.transports import PublisherGrpcAsyncIOTransport
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcAsyncIOTransport

from shared.cancellation import anyio_cancellation
from shared.errors import PublishFailedError
from shared.events.forward_message import OutgoingMessage
from shared.process.settings import Settings

MAX_MESSAGES_PER_PUBLISH: Final = 1000
"""Pub/Sub's limit for one request."""

MAX_BYTES_PER_PUBLISH: Final = 9_000_000
"""Below Pub/Sub's limit of 10 MB for one request, since the size of a message is estimated."""

MESSAGE_OVERHEAD_BYTES: Final = 64
"""A generous estimate of the bytes that a message takes beside its data and attributes."""

CHANNEL_OPTIONS: Final = (
    # gRPC's default lets two minutes pass between two attempts to connect, long after an outage is over.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    # As in Google's own transports: a pull of large messages exceeds gRPC's default of 4 MiB, and keepalive notices a
    # dead connection.
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.keepalive_time_ms", 30_000),
)

_RawPublishRequest: Final = type(PublishRequest.pb(PublishRequest()))

CLOSE_SECONDS: Final = 1.0
"""How long closing a channel may wait for calls that are still running."""


class Publisher(Protocol):
    """Publishes to one topic."""

    async def publish(self, messages: Sequence[OutgoingMessage]) -> None:
        """Publish all messages, in as few requests as Pub/Sub's limits allow, one after the other.

        Raises:
            PublishFailedError: refused or not confirmed in time; some or all may have been published.
        """
        ...


class PubSubPublisher:
    """Publisher on a Pub/Sub topic."""

    def __init__(self, client: PublisherAsyncClient, *, topic: str, timeout_seconds: float) -> None:
        """`topic` is its full path (`topic_path`); `timeout_seconds` bounds one `publish`, retries included."""
        self._client = client
        self._topic = topic
        self._timeout_seconds = timeout_seconds

    async def publish(self, messages: Sequence[OutgoingMessage]) -> None:
        try:
            with anyio.fail_after(self._timeout_seconds):
                async with anyio_cancellation():
                    for request in _requests(self._topic, messages):
                        # The client's own retries stop with this deadline, which grpc.aio enforces at both ends.
                        await self._client.publish(request, timeout=self._timeout_seconds)
        except TimeoutError as error:
            raise PublishFailedError(f"Pub/Sub did not answer within {self._timeout_seconds:g} s") from error
        except (google.GoogleAPICallError, google.RetryError) as error:
            raise PublishFailedError(f"Pub/Sub refused the publish ({type(error).__name__})") from error


@asynccontextmanager
async def open_publisher_client(settings: Settings) -> AsyncIterator[PublisherAsyncClient]:
    """A publisher client; opening does no I/O."""
    channel = _channel(settings, PublisherGrpcAsyncIOTransport.create_channel)
    client = PublisherAsyncClient(transport=PublisherGrpcAsyncIOTransport(channel=channel))
    try:
        yield client
    finally:
        with anyio.CancelScope(shield=True), anyio.move_on_after(CLOSE_SECONDS):
            await client.transport.close()


@asynccontextmanager
async def open_subscriber_client(settings: Settings) -> AsyncIterator[SubscriberAsyncClient]:
    """A subscriber client; opening does no I/O."""
    channel = _channel(settings, SubscriberGrpcAsyncIOTransport.create_channel)
    client = SubscriberAsyncClient(transport=SubscriberGrpcAsyncIOTransport(channel=channel))
    try:
        yield client
    finally:
        with anyio.CancelScope(shield=True), anyio.move_on_after(CLOSE_SECONDS):
            await client.transport.close()


def _channel(
    settings: Settings, create_channel: Callable[..., grpc.aio.Channel]
) -> grpc.aio.Channel | Callable[..., grpc.aio.Channel]:
    if settings.pubsub_emulator_host is not None:
        return grpc.aio.insecure_channel(settings.pubsub_emulator_host, options=CHANNEL_OPTIONS)

    def create_with_our_options(*args: Any, options: Sequence[tuple[str, int]], **kwargs: Any) -> grpc.aio.Channel:
        return create_channel(*args, options=[*options, *CHANNEL_OPTIONS], **kwargs)

    return create_with_our_options


def topic_path(settings: Settings, name: str) -> str:
    return PublisherAsyncClient.topic_path(settings.google_cloud_project, name)


def subscription_path(settings: Settings, name: str) -> str:
    return SubscriberAsyncClient.subscription_path(settings.google_cloud_project, name)


def _requests(topic: str, messages: Sequence[OutgoingMessage]) -> list[PublishRequest]:
    """Divide messages into requests. Filled as raw protobuf messages: 1 µs a message, through proto-plus 20."""
    requests: list[Any] = []
    room = 0
    for message in messages:
        size = len(message.data) + sum(len(k) + len(v) for k, v in message.attributes.items()) + MESSAGE_OVERHEAD_BYTES
        if not requests or size > room or len(requests[-1].messages) == MAX_MESSAGES_PER_PUBLISH:
            requests.append(_RawPublishRequest(topic=topic))
            room = MAX_BYTES_PER_PUBLISH
        requests[-1].messages.add(data=message.data, attributes=message.attributes)
        room -= size
    return [PublishRequest.wrap(request) for request in requests]
