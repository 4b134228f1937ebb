"""Leases: extends the leases of pulled messages, so that Pub/Sub does not redeliver them while they are in work."""

from collections.abc import Iterable
from typing import Final

import anyio

from shared.errors import SubscriptionUnavailableError
from shared.process.logs import get_logger
from worker.subscription import ReceivedMessage, Subscription

LEASE_SECONDS: Final = 30
"""The ack deadline that each extension sets. When a worker dies its messages are redelivered within this time."""

EXTENSION_INTERVAL_SECONDS: Final = 3.0
"""Three chances within the shortest lease there is, the 10 s of a fresh delivery."""

_log = get_logger()


class Leases:
    """The messages of one subscription that this process has leased; for the event loop's thread."""

    def __init__(self, subscription: Subscription) -> None:
        self._subscription = subscription
        self._leased: dict[str, ReceivedMessage] = {}

    def add(self, messages: Iterable[ReceivedMessage]) -> None:
        """Extend their leases until they are acked or nacked."""
        self._leased |= {message.ack_id: message for message in messages}

    def leased(self) -> list[ReceivedMessage]:
        """In the order in which they came."""
        return list(self._leased.values())

    async def acknowledge(self, messages: Iterable[ReceivedMessage]) -> None:
        """Ack those that are leased here. Never raises for Pub/Sub.

        If the ack fails they are redelivered, and the ledger shows that their events are done.
        """
        ack_ids = self._remove(messages)
        if ack_ids:
            try:
                await self._subscription.acknowledge(ack_ids)
            except SubscriptionUnavailableError as error:
                _log.warning("acknowledge_failed", messages=len(ack_ids), error=str(error))

    async def nack(self, messages: Iterable[ReceivedMessage]) -> None:
        """Have those that are leased here redelivered after the subscription's backoff. Never raises for Pub/Sub.

        If the nack fails they are redelivered when their leases expire.
        """
        ack_ids = self._remove(messages)
        if ack_ids:
            try:
                await self._subscription.extend(ack_ids, seconds=0)
            except SubscriptionUnavailableError as error:
                _log.warning("nack_failed", messages=len(ack_ids), error=str(error))

    async def extend_forever(self) -> None:
        """Extend all leases at intervals, until cancelled."""
        while True:
            await anyio.sleep(EXTENSION_INTERVAL_SECONDS)
            if self._leased:
                try:
                    await self._subscription.extend(list(self._leased), seconds=LEASE_SECONDS)
                except SubscriptionUnavailableError as error:
                    # The next try may come in time; if not, the claim keeps the event from being sent twice.
                    _log.warning("extension_failed", messages=len(self._leased), error=str(error))

    def _remove(self, messages: Iterable[ReceivedMessage]) -> list[str]:
        return [message.ack_id for message in messages if self._leased.pop(message.ack_id, None) is not None]
