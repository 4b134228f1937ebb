"""Rows of which no worker could make an event. Without an end they would be published again for ever."""

import json
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from shared.errors import UndecodableMessageError
from shared.events.forward_ledger import ClaimOutcome, DeliveryRecord, ForwardLedger
from shared.events.forward_message import EVENT_ID_ATTRIBUTE, OutgoingMessage
from shared.process.logs import get_logger
from shared.telemetry.tracing import TRACEPARENT
from worker.dead_letter_publisher import DeadLetter, DeadLetterPublisher
from worker.subscription import ReceivedMessage

DEAD_LETTER_TIMEOUT_SECONDS: Final = 60.0
"""The claim on a row that is dead-lettered: for one publish and one commit."""

REASON: Final = UndecodableMessageError.reason

_log = get_logger()


class Unpublishable:
    """Buries such rows."""

    def __init__(self, ledger: ForwardLedger, dead_letters: DeadLetterPublisher) -> None:
        self._ledger = ledger
        self._dead_letters = dead_letters

    async def bury(self, messages: Mapping[str, OutgoingMessage]) -> None:
        """Dead-letter what the rows' messages would be, by event_id; what somebody else has in work is left to them.

        Raises:
            PublishFailedError, StorageUnavailableError: they are still pending, or dead without it being known here.
        """
        if not messages:
            return
        token = str(uuid.uuid4())
        entries = await self._ledger.claim(list(messages), token=token, seconds=DEAD_LETTER_TIMEOUT_SECONDS)
        ours = [entry for entry in entries.values() if entry.outcome is ClaimOutcome.CLAIMED]
        now = datetime.now(UTC)
        await self._dead_letters.publish(
            [DeadLetter(_as_received(messages[e.event_id], now), REASON, None, e.attempts, now) for e in ours]
        )
        dead = await self._ledger.settle_dead(
            [DeliveryRecord(e.event_id, e.attempts, e.possible_duplicates, now, REASON, None, e.history) for e in ours],
            token=token,
        )
        for event_id in dead:
            _log.warning(
                "message_dead_lettered",
                event_id=event_id,
                reason=REASON,
                traceparent=messages[event_id].attributes.get(TRACEPARENT),
            )


def stand_in(event_id: str) -> OutgoingMessage:
    """For a row of which not even a message can be made: it says which one."""
    return OutgoingMessage(json.dumps({"eventId": event_id}).encode(), {EVENT_ID_ATTRIBUTE: event_id})


def _as_received(message: OutgoingMessage, now: datetime) -> ReceivedMessage:
    return ReceivedMessage("", "", message.data, message.attributes, publish_time=now, delivery_attempt=0)
