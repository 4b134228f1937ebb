"""The double's client of the emulator."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

import grpc
from google.pubsub_v1 import GetSubscriptionRequest, ModifyAckDeadlineRequest, PullRequest, PullResponse
from google.pubsub_v1 import Subscription as Resource

from deploy.local.emulators import CHANNEL_OPTIONS

PUBLISHER: Final = "/google.pubsub.v1.Publisher/"
SUBSCRIBER: Final = "/google.pubsub.v1.Subscriber/"

NO_LIMIT: Final = (("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1))
"""A pull of a thousand large messages exceeds gRPC's default of 4 MiB."""

OWN_CALL_SECONDS: Final = 5.0
"""The timeout of calls that no client waits for."""

KNOWN_SECONDS: Final = 5.0
"""How long a subscription's settings are cached: a test may change them on the emulator itself."""


@dataclass(frozen=True, slots=True)
class SubscriptionSettings:
    ack_deadline_seconds: int
    dead_letters: bool


class Upstream:
    """Opened by `async with`. Every call raises grpc.aio.AioRpcError on the emulator's errors."""

    def __init__(self, host: str) -> None:
        self._host = host
        self._calls: dict[str, Any] = {}
        self._known: dict[str, tuple[float, SubscriptionSettings]] = {}

    async def __aenter__(self) -> Self:
        self._channel = grpc.aio.insecure_channel(self._host, options=(*CHANNEL_OPTIONS, *NO_LIMIT))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._channel.close()

    async def call(
        self,
        method: str,
        request: bytes,
        *,
        timeout: float | None = OWN_CALL_SECONDS,  # noqa: ASYNC109 - gRPC's own: the emulator is told of it
        metadata: Sequence[tuple[str, str | bytes]] = (),
    ) -> bytes:
        """Sends a serialized request and returns the serialized answer."""
        if method not in self._calls:
            self._calls[method] = self._channel.unary_unary(method)
        answer: bytes = await self._calls[method](request, timeout=timeout, metadata=metadata)
        return answer

    async def pull_now(self, subscription: str, max_messages: int) -> list[Any]:
        """The messages that are there now, in raw protobuf.

        It never waits: the emulator may go on with a waiting pull that was given up, and lease later messages to it.
        """
        request = PullRequest.pb()(subscription=subscription, max_messages=max_messages, return_immediately=True)
        answer = await self.call(f"{SUBSCRIBER}Pull", request.SerializeToString())
        return list(PullResponse.pb().FromString(answer).received_messages)

    async def lease(self, subscription: str, ack_ids: Sequence[str], seconds: int) -> None:
        """Makes the leases end `seconds` from now."""
        request = ModifyAckDeadlineRequest.pb()(
            subscription=subscription, ack_ids=ack_ids, ack_deadline_seconds=seconds
        )
        await self.call(f"{SUBSCRIBER}ModifyAckDeadline", request.SerializeToString())

    async def settings(self, subscription: str) -> SubscriptionSettings:
        known = self._known.get(subscription)
        if known is None or known[0] < time.monotonic():
            request = GetSubscriptionRequest.pb()(subscription=subscription)
            answer = await self.call(f"{SUBSCRIBER}GetSubscription", request.SerializeToString())
            found = Resource.pb().FromString(answer)
            settings = SubscriptionSettings(
                found.ack_deadline_seconds, bool(found.dead_letter_policy.dead_letter_topic)
            )
            known = self._known[subscription] = (time.monotonic() + KNOWN_SECONDS, settings)
        return known[1]
