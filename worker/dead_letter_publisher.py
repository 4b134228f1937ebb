"""Dead letters: the original bytes of a message that can never succeed, with the reason in its attributes."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from typing import Final

from shared.events.forward_message import MAX_ATTRIBUTES, OutgoingMessage, bounded_attributes
from shared.pubsub import Publisher
from worker.subscription import ReceivedMessage

PREFIX: Final = "dead_letter_"
"""Of our own attributes, so that they are told from the original message's."""

REASON_ATTRIBUTE: Final = PREFIX + "reason"


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """Why a message is given up."""

    message: ReceivedMessage
    reason: str
    """A stable word: `undecodable`, `row_missing`, or what Statsig's answer was, such as `http_400`."""

    status: int | None
    attempts: int
    at: datetime
    """When it was given up. Aware."""

    answer: str | None = None
    """What Statsig said when it refused the event, one line."""


class DeadLetterPublisher:
    """Publishes dead letters."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher

    async def publish(self, letters: Sequence[DeadLetter]) -> None:
        """Publish all.

        Raises:
            PublishFailedError: not confirmed; the original messages must not be acknowledged.
        """
        if letters:
            await self._publisher.publish([_message(letter) for letter in letters])


def _message(letter: DeadLetter) -> OutgoingMessage:
    message = letter.message
    ours = {
        REASON_ATTRIBUTE: letter.reason,
        PREFIX + "status": "" if letter.status is None else str(letter.status),
        PREFIX + "answer": letter.answer or "",
        PREFIX + "attempts": str(letter.attempts),
        PREFIX + "first_at": message.publish_time.isoformat(),
        PREFIX + "last_at": letter.at.isoformat(),
        PREFIX + "worker_version": version("event-logging"),
        PREFIX + "source_message_id": message.message_id,
        PREFIX + "delivery_attempt": str(message.delivery_attempt),
    }
    # Ours first: of a foreign message's hundred attributes some must give way. `goog` is Pub/Sub's own prefix and
    # refused in a publish.
    theirs = {key: value for key, value in message.attributes.items() if not key.startswith(("goog", PREFIX))}
    kept = dict(list(theirs.items())[: MAX_ATTRIBUTES - len(ours)])
    return OutgoingMessage(message.data, bounded_attributes(ours | kept))
