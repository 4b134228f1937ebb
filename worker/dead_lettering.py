"""Dead-lettering: publishes dead letters, and logs each."""

from collections.abc import Sequence
from datetime import datetime

from shared.clock import Clock
from shared.errors import PublishFailedError
from shared.events import forward_message
from shared.events.forward_ledger import DeliveryRecord
from shared.process.fault_points import fault_point
from shared.process.logs import get_logger
from shared.traceparent import TRACEPARENT
from worker.dead_letter_publisher import DeadLetter, DeadLetterPublisher
from worker.subscription import ReceivedMessage

_log = get_logger()


class DeadLettering:
    """Publishes dead letters, all of a call's in one publish.

    A call returns False if Pub/Sub did not confirm it: then nothing may be settled, and the messages come again.
    """

    def __init__(self, dead_letters: DeadLetterPublisher, clock: Clock) -> None:
        self._dead_letters = dead_letters
        self._clock = clock

    async def publish(self, messages: Sequence[ReceivedMessage], reason: str) -> bool:
        """Dead-letter messages that were never sent to Statsig."""
        return await self._publish([DeadLetter(message, reason, None, 0, self._now()) for message in messages])

    async def publish_rejected(self, letters: Sequence[tuple[ReceivedMessage, DeliveryRecord]]) -> bool:
        """Dead-letter events that Statsig does not take, each with its attempts."""
        return await self._publish(
            [
                DeadLetter(
                    message,
                    attempt.reason,
                    attempt.status,
                    attempt.attempts,
                    self._now(),
                    attempt.history[-1].text if attempt.history else None,
                )
                for message, attempt in letters
            ]
        )

    async def _publish(self, letters: Sequence[DeadLetter]) -> bool:
        if not letters:
            return True
        try:
            await self._dead_letters.publish(letters)
        except PublishFailedError as error:
            _log.warning("dead_letter_publish_failed", messages=len(letters), error=str(error))
            return False
        fault_point("after_dead_letter_publish")
        for letter in letters:
            _log.warning(
                "message_dead_lettered",
                event_id=letter.message.attributes.get(forward_message.EVENT_ID_ATTRIBUTE),
                message_id=letter.message.message_id,
                reason=letter.reason,
                status=letter.status,
                traceparent=letter.message.attributes.get(TRACEPARENT),
            )
        return True

    def _now(self) -> datetime:
        return self._clock.now()
