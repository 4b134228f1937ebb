"""Publishing to Pub/Sub over grpc.aio, and the place where its publish errors become ours.

The hand-written publisher of the same package waits 10 ms to batch a lone message and works through threads; our
batches are made before they get here.
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
MAX_BYTES_PER_PUBLISH: Final = 9_000_000
"""Pub/Sub's limits are 1,000 messages and 10 MB a request; the difference is for what wraps each message."""

MESSAGE_OVERHEAD_BYTES: Final = 64
"""A generous guess at that wrapping, a message."""

CHANNEL_OPTIONS: Final = (
    # gRPC's default lets two minutes pass between two attempts to connect, long after an outage is over.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    # As Google's own transports have them: a pull of large messages exceeds gRPC's default of 4 MiB, and a
    # connection that went dead is noticed.
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.keepalive_time_ms", 30_000),
)

_RawPublishRequest: Final = type(PublishRequest.pb(PublishRequest()))

CLOSE_SECONDS: Final = 1.0
"""For calls that are still running when a channel closes."""


class Publisher(Protocol):
    """Where messages of one topic go."""

    async def publish(self, messages: Sequence[OutgoingMessage]) -> None:
        """Publish all messages, in one request where they fit into one.

        Raises:
            PublishFailedError: not confirmed in time; some or all may have been published.
        """
        ...


class PubSubPublisher:
    """Publisher on a Pub/Sub topic."""

    def __init__(self, client: PublisherAsyncClient, *, topic: str, timeout_seconds: float) -> None:
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
    """Filled as raw protobuf messages: by way of proto-plus a message took 20 µs, this takes 1."""
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
