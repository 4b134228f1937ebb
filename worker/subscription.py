"""The subscription: the port that messages are pulled through, and its adapter on Pub/Sub's unary pull over grpc.aio.

Unary and not streaming pull: the process itself decides how much it prefetches, and the subscription's ack deadline
holds (streaming pull sets 60 s of its own).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Protocol

import anyio
from google.api_core import exceptions as google
from google.pubsub_v1 import PullResponse, SubscriberAsyncClient

from shared.cancellation import anyio_cancellation
from shared.errors import SubscriptionUnavailableError

PULL_TIMEOUT_SECONDS: Final = 20.0
"""How long a pull waits for a first message. Bounds how long a dead connection stays unnoticed."""

CALL_TIMEOUT_SECONDS: Final = 5.0
"""Bounds an ack or a lease extension; a lease is not much longer."""

MAX_IDS_PER_CALL: Final = 1000
"""A request may have 512 KiB; an ack id of Pub/Sub has some 200 characters."""


@dataclass(frozen=True, slots=True)
class ReceivedMessage:
    """One delivery of a message."""

    ack_id: str
    """Differs in each delivery."""

    message_id: str
    data: bytes
    attributes: dict[str, str]
    publish_time: datetime
    """Aware."""

    delivery_attempt: int
    """Approximate, from 1; 0 if the subscription has no native dead-lettering."""


class Subscription(Protocol):
    """A source of messages. A delivery is a lease; a message that is not acked before it expires is redelivered."""

    async def pull(self, *, max_messages: int, wait_seconds: float = PULL_TIMEOUT_SECONDS) -> list[ReceivedMessage]:
        """Wait for messages and return up to `max_messages`; an empty list after `wait_seconds`.

        A pull that is cancelled may have leased messages, which are redelivered when the leases expire.

        Raises:
            SubscriptionUnavailableError: no answer, or the subscription does not exist.
        """
        ...

    async def acknowledge(self, ack_ids: Sequence[str]) -> None:
        """Ack these deliveries. Idempotent; an ack after the lease expired succeeds without effect.

        Raises:
            SubscriptionUnavailableError: not known whether it was taken; the messages may be redelivered.
        """
        ...

    async def extend(self, ack_ids: Sequence[str], *, seconds: int) -> None:
        """Let the leases expire `seconds` from now; 0 is a nack.

        Raises:
            SubscriptionUnavailableError: not known whether it was taken.
        """
        ...


class PubSubSubscription:
    """Subscription on Pub/Sub; for the event loop that its client was opened in."""

    def __init__(self, client: SubscriberAsyncClient, *, subscription: str) -> None:
        self._client = client
        self._subscription = subscription

    async def pull(self, *, max_messages: int, wait_seconds: float = PULL_TIMEOUT_SECONDS) -> list[ReceivedMessage]:
        try:
            # retry=None: the calling loop has its own pauses, which end when the process stops.
            async with anyio_cancellation():
                response = await self._client.pull(
                    subscription=self._subscription, max_messages=max_messages, timeout=wait_seconds, retry=None
                )
        except google.DeadlineExceeded:
            return []
        except google.GoogleAPICallError as error:
            raise _unavailable("pull", error) from error
        # The raw protobuf message: reading a message took 50 µs through proto-plus, and takes 3 µs so.
        return [_received(each) for each in PullResponse.pb(response).received_messages]

    async def acknowledge(self, ack_ids: Sequence[str]) -> None:
        for start in range(0, len(ack_ids), MAX_IDS_PER_CALL):
            part = ack_ids[start : start + MAX_IDS_PER_CALL]
            try:
                with anyio.fail_after(CALL_TIMEOUT_SECONDS):
                    async with anyio_cancellation():
                        await self._client.acknowledge(
                            subscription=self._subscription, ack_ids=list(part), timeout=CALL_TIMEOUT_SECONDS
                        )
            except (google.GoogleAPICallError, google.RetryError, TimeoutError) as error:
                raise _unavailable("acknowledge", error) from error

    async def extend(self, ack_ids: Sequence[str], *, seconds: int) -> None:
        for start in range(0, len(ack_ids), MAX_IDS_PER_CALL):
            part = ack_ids[start : start + MAX_IDS_PER_CALL]
            try:
                with anyio.fail_after(CALL_TIMEOUT_SECONDS):
                    async with anyio_cancellation():
                        await self._client.modify_ack_deadline(
                            subscription=self._subscription,
                            ack_ids=list(part),
                            ack_deadline_seconds=seconds,
                            timeout=CALL_TIMEOUT_SECONDS,
                        )
            except (google.GoogleAPICallError, google.RetryError, TimeoutError) as error:
                raise _unavailable("extend", error) from error


def _received(raw: Any) -> ReceivedMessage:
    message = raw.message
    attributes, published = message.attributes, message.publish_time
    return ReceivedMessage(
        ack_id=raw.ack_id,
        message_id=message.message_id,
        data=message.data,
        attributes={key: attributes[key] for key in attributes},  # dict() would use the slow Mapping interface
        publish_time=datetime.fromtimestamp(published.seconds + published.nanos / 1e9, UTC),
        delivery_attempt=raw.delivery_attempt,
    )


def _unavailable(call: str, error: Exception) -> SubscriptionUnavailableError:
    return SubscriptionUnavailableError(f"Pub/Sub did not take the {call} ({type(error).__name__})")
