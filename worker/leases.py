"""Leases: keeps the messages in work from being delivered to somebody else meanwhile."""

from collections.abc import Iterable
from typing import Final

import anyio

from shared.errors import SubscriptionUnavailableError
from shared.process.logs import get_logger
from worker.subscription import ReceivedMessage, Subscription

LEASE_SECONDS: Final = 30
"""What each extension asks for. When a worker dies its messages come again within this."""

EXTENSION_SECONDS: Final = 3.0
"""The pause between extensions: three chances within the shortest lease there is, the 10 s of a fresh delivery."""

_log = get_logger()


class Leases:
    """The messages that this process holds; shared by all its lanes."""

    def __init__(self, subscription: Subscription, *, seconds: int = LEASE_SECONDS) -> None:
        self._subscription = subscription
        self._seconds = seconds
        self._held: dict[str, ReceivedMessage] = {}

    def hold(self, messages: Iterable[ReceivedMessage]) -> None:
        self._held |= {message.ack_id: message for message in messages}

    def leased(self) -> list[ReceivedMessage]:
        """In the order in which they came."""
        return list(self._held.values())

    async def acknowledge(self, messages: Iterable[ReceivedMessage]) -> None:
        """Done with for good. Where Pub/Sub does not take it they come again, and the ledger tells that they are."""
        ack_ids = self._drop(messages)
        if ack_ids:
            try:
                await self._subscription.acknowledge(ack_ids)
            except SubscriptionUnavailableError as error:
                _log.warning("acknowledge_failed", messages=len(ack_ids), error=str(error))

    async def nack(self, messages: Iterable[ReceivedMessage]) -> None:
        """Let others have them, after the subscription's backoff. Where Pub/Sub does not take it the lease ends."""
        ack_ids = self._drop(messages)
        if ack_ids:
            try:
                await self._subscription.extend(ack_ids, seconds=0)
            except SubscriptionUnavailableError as error:
                _log.warning("give_back_failed", messages=len(ack_ids), error=str(error))

    async def extend_forever(self) -> None:
        """Extend what is held, until cancelled."""
        while True:
            await anyio.sleep(EXTENSION_SECONDS)
            if self._held:
                try:
                    await self._subscription.extend(list(self._held), seconds=self._seconds)
                except SubscriptionUnavailableError as error:
                    # The next try may come in time; if not, the claim keeps the event from being sent twice.
                    _log.warning("extension_failed", messages=len(self._held), error=str(error))

    def _drop(self, messages: Iterable[ReceivedMessage]) -> list[str]:
        return [message.ack_id for message in messages if self._held.pop(message.ack_id, None) is not None]
