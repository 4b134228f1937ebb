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
"""Prefix of the attributes added here; distinguishes them from those of the original message."""

REASON_ATTRIBUTE: Final = PREFIX + "reason"


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that is given up, and why."""

    message: ReceivedMessage
    reason: str
    """A stable word: `undecodable`, `row_missing`, `exhausted`, or Statsig's answer, such as `http_400`."""

    status: int | None
    """HTTP status of the last attempt, if there was one."""

    attempts: int
    at: datetime
    """When it was given up. Aware."""

    answer: str | None = None
    """The body of Statsig's refusal, one line."""


class DeadLetterPublisher:
    """Turns dead letters into messages of the dead-letter topic, and publishes them."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher

    async def publish(self, dead_letters: Sequence[DeadLetter]) -> None:
        """Publish all of them; waits until Pub/Sub has confirmed.

        Raises:
            PublishFailedError: not confirmed; the original messages must not be acked.
        """
        if dead_letters:
            await self._publisher.publish([_message(each) for each in dead_letters])


def _message(dead_letter: DeadLetter) -> OutgoingMessage:
    message = dead_letter.message
    added = {
        REASON_ATTRIBUTE: dead_letter.reason,
        PREFIX + "status": "" if dead_letter.status is None else str(dead_letter.status),
        PREFIX + "answer": dead_letter.answer or "",
        PREFIX + "attempts": str(dead_letter.attempts),
        PREFIX + "first_at": message.publish_time.isoformat(),
        PREFIX + "last_at": dead_letter.at.isoformat(),
        PREFIX + "worker_version": version("event-logging"),
        PREFIX + "source_message_id": message.message_id,
        PREFIX + "delivery_attempt": str(message.delivery_attempt),
    }
    # A message may have MAX_ATTRIBUTES: the added ones come first, and a foreign message that is full loses some of its
    # own. `goog` is Pub/Sub's prefix, and refused in a publish.
    originals = {key: value for key, value in message.attributes.items() if not key.startswith(("goog", PREFIX))}
    kept = dict(list(originals.items())[: MAX_ATTRIBUTES - len(added)])
    return OutgoingMessage(message.data, bounded_attributes(added | kept))
