"""Dead-letters rows that no worker could turn into an event. Left pending they would be republished without end."""

import json
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from shared.errors import PublishFailedError, UndecodableMessageError
from shared.events.forward_ledger import ClaimOutcome, DeliveryRecord, ForwardLedger
from shared.events.forward_message import EVENT_ID_ATTRIBUTE, OutgoingMessage
from shared.process.logs import get_logger
from shared.traceparent import TRACEPARENT
from worker.attempts import untried
from worker.dead_letter_publisher import DeadLetter, DeadLetterPublisher
from worker.subscription import ReceivedMessage

CLAIM_SECONDS: Final = 60.0
"""How long such a row is claimed: for one publish and one commit."""

REASON: Final = UndecodableMessageError.reason

_log = get_logger()


class Unpublishable:
    """Dead-letters rows, for the event loop's thread. Safe to run in several processes: claims keep them apart."""

    def __init__(self, ledger: ForwardLedger, dead_letters: DeadLetterPublisher) -> None:
        self._ledger = ledger
        self._dead_letters = dead_letters

    async def dead_letter(self, messages: Mapping[str, OutgoingMessage]) -> None:
        """Dead-letter rows, given the messages made from them, by event_id. Rows claimed elsewhere are left alone.

        Raises:
            PublishFailedError, StorageUnavailableError: the rows may still be pending.
        """
        if not messages:
            return
        token = str(uuid.uuid4())
        entries = await self._ledger.claim(list(messages), token=token, seconds=CLAIM_SECONDS)
        claimed = [entry for entry in entries.values() if entry.outcome is ClaimOutcome.CLAIMED]
        now = datetime.now(UTC)
        try:
            await self._dead_letters.publish(
                [DeadLetter(_as_received(messages[e.event_id], now), REASON, None, e.attempts, now) for e in claimed]
            )
        except PublishFailedError:
            await self._ledger.release(untried([e.event_id for e in claimed]), token=token)
            raise
        dead = await self._ledger.settle_dead(
            [
                DeliveryRecord(e.event_id, e.attempts, e.possible_duplicates, now, REASON, None, e.history)
                for e in claimed
            ],
            token=token,
        )
        for event_id in dead:
            _log.warning(
                "message_dead_lettered",
                event_id=event_id,
                reason=REASON,
                traceparent=messages[event_id].attributes.get(TRACEPARENT),
            )


def placeholder_message(event_id: str) -> OutgoingMessage:
    """A message that only names the event, for a row that no message can be made from."""
    return OutgoingMessage(json.dumps({"eventId": event_id}).encode(), {EVENT_ID_ATTRIBUTE: event_id})


def _as_received(message: OutgoingMessage, now: datetime) -> ReceivedMessage:
    return ReceivedMessage("", "", message.data, message.attributes, publish_time=now, delivery_attempt=0)
