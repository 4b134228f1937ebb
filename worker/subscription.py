"""The subscription: the port that the pull loop sees, and its adapter on Pub/Sub's unary pull over grpc.aio.

Unary pull and not streaming: a batch is asked for when there is room for it, so nothing is prefetched that would have
to be handed back, and a subscription's ack deadline is what it says (streaming pull uses 60 s of its own).
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

PULL_SECONDS: Final = 20.0
"""How long a pull waits for a first message. Bounds how long a connection that went dead stays unnoticed."""

CALL_SECONDS: Final = 5.0
"""For an acknowledgement or an extension; a lease is not much longer."""

MAX_IDS_PER_CALL: Final = 1000
"""A request takes 512 KiB; an ack id of Pub/Sub has some 200 characters."""


@dataclass(frozen=True, slots=True)
class ReceivedMessage:
    """One delivery of a message. `ack_id` belongs to this delivery alone."""

    ack_id: str
    message_id: str
    data: bytes
    attributes: dict[str, str]
    publish_time: datetime

    delivery_attempt: int
    """Approximate, from 1; 0 where the subscription has no native dead-lettering."""


class Subscription(Protocol):
    """Where messages come from. Every delivery is a lease of some seconds, and comes again unless acknowledged."""

    async def pull(self, *, max_messages: int, wait_seconds: float = PULL_SECONDS) -> list[ReceivedMessage]:
        """Up to `max_messages`, as soon as there is any; an empty list after `wait_seconds`.

        A pull that is cancelled may have leased messages, which come again when their lease ends.

        Raises:
            SubscriptionUnavailableError: no answer, or the subscription does not exist.
        """
        ...

    async def acknowledge(self, ack_ids: Sequence[str]) -> None:
        """End these deliveries for good. Too late an acknowledgement is accepted and does nothing.

        Raises:
            SubscriptionUnavailableError: not known whether it was taken; the messages may come again.
        """
        ...

    async def extend(self, ack_ids: Sequence[str], *, seconds: int) -> None:
        """Let the leases end that many seconds from now; 0 gives the messages back at once.

        Raises:
            SubscriptionUnavailableError: not known whether it was taken.
        """
        ...


class PubSubSubscription:
    """Subscription on Pub/Sub."""

    def __init__(self, client: SubscriberAsyncClient, *, subscription: str) -> None:
        self._client = client
        self._subscription = subscription

    async def pull(self, *, max_messages: int, wait_seconds: float = PULL_SECONDS) -> list[ReceivedMessage]:
        try:
            # No retry of the client's own: the loop that calls has its own pauses, and knows when to stop.
            async with anyio_cancellation():
                response = await self._client.pull(
                    subscription=self._subscription, max_messages=max_messages, timeout=wait_seconds, retry=None
                )
        except google.DeadlineExceeded:
            return []
        except google.GoogleAPICallError as error:
            raise _unavailable("pull", error) from error
        # Read as the raw protobuf message: by way of proto-plus a message took 50 µs, this takes 3.
        return [_received(each) for each in PullResponse.pb(response).received_messages]

    async def acknowledge(self, ack_ids: Sequence[str]) -> None:
        for start in range(0, len(ack_ids), MAX_IDS_PER_CALL):
            part = ack_ids[start : start + MAX_IDS_PER_CALL]
            try:
                with anyio.fail_after(CALL_SECONDS):
                    async with anyio_cancellation():
                        await self._client.acknowledge(
                            subscription=self._subscription, ack_ids=list(part), timeout=CALL_SECONDS
                        )
            except (google.GoogleAPICallError, google.RetryError, TimeoutError) as error:
                raise _unavailable("acknowledge", error) from error

    async def extend(self, ack_ids: Sequence[str], *, seconds: int) -> None:
        for start in range(0, len(ack_ids), MAX_IDS_PER_CALL):
            part = ack_ids[start : start + MAX_IDS_PER_CALL]
            try:
                with anyio.fail_after(CALL_SECONDS):
                    async with anyio_cancellation():
                        await self._client.modify_ack_deadline(
                            subscription=self._subscription,
                            ack_ids=list(part),
                            ack_deadline_seconds=seconds,
                            timeout=CALL_SECONDS,
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
        attributes={key: attributes[key] for key in attributes},  # dict() goes by the slow Mapping interface
        publish_time=datetime.fromtimestamp(published.seconds + published.nanos / 1e9, UTC),
        delivery_attempt=raw.delivery_attempt,
    )


def _unavailable(call: str, error: Exception) -> SubscriptionUnavailableError:
    return SubscriptionUnavailableError(f"Pub/Sub did not take the {call} ({type(error).__name__})")
