"""Counts dead letters by reason."""

from collections import Counter
from collections.abc import Sequence

from shared.events.forward_message import OutgoingMessage
from shared.pubsub import Publisher
from shared.telemetry.metrics import DEAD_LETTERS, counter
from shared.telemetry.providers import Telemetry
from worker.dead_letter_publisher import REASON_ATTRIBUTE


class CountedDeadLetters:
    """Wraps the dead-letter topic's Publisher."""

    def __init__(self, publisher: Publisher, telemetry: Telemetry) -> None:
        self._publisher = publisher
        self._dead_letters = counter(telemetry.meter, DEAD_LETTERS)

    async def publish(self, messages: Sequence[OutgoingMessage]) -> None:
        await self._publisher.publish(messages)
        for reason, events in Counter(message.attributes[REASON_ATTRIBUTE] for message in messages).items():
            self._dead_letters.add(events, {"reason": reason})
