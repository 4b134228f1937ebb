"""What a message of the dead-letter topic is: of which kind, why, when, of which event; pure."""

import uuid
from datetime import datetime
from typing import Final

from shared.errors import UndecodableMessageError
from shared.events import forward_message
from shared.events.dead_letter_table import DeadLetterRow, LetterKind
from shared.events.forward_message import EVENT_ID_ATTRIBUTE, EVENT_NAME_ATTRIBUTE, OutgoingMessage
from worker.dead_letter_publisher import PREFIX, REASON_ATTRIBUTE
from worker.subscription import ReceivedMessage

NATIVE: Final = "native"
"""The reason of a dead letter that Pub/Sub made after too many deliveries: it gives none."""

NATIVE_PREFIX: Final = "CloudPubSubDeadLetterSource"
"""Of the attributes that Pub/Sub adds to it."""

_NOT_THE_ORIGINALS: Final = ("goog", PREFIX, NATIVE_PREFIX)

_POISON: Final = uuid.UUID("0b1a7e0e-6a2c-4d0a-9a55-7f6b0d3a3f61")
"""The namespace of what poison is called by. Never to be changed: rows are found by it."""


def read_letter(message: ReceivedMessage) -> DeadLetterRow:
    """Make out what lies there; total."""
    noted = message.attributes.get(REASON_ATTRIBUTE)
    dead_at = moment(message.attributes.get(PREFIX + "last_at")) or message.publish_time
    try:
        event = forward_message.decode(message.data)
        uuid.UUID(event.event_id)
    except (UndecodableMessageError, ValueError):
        return DeadLetterRow(
            subject=poison_subject(message.message_id),
            message_id=message.message_id,
            kind=LetterKind.POISON,
            reason=noted or UndecodableMessageError.reason,
            dead_at=dead_at,
            event_id=message.attributes.get(EVENT_ID_ATTRIBUTE),
            event_name=message.attributes.get(EVENT_NAME_ATTRIBUTE),
            data=message.data,
            attributes=dict(message.attributes),
        )
    return DeadLetterRow(
        subject=event.event_id,
        message_id=message.message_id,
        kind=LetterKind.NATIVE if noted is None else LetterKind.REASONED,
        reason=noted or NATIVE,
        dead_at=dead_at,
        event_id=event.event_id,
        event_name=event.event_name,
        data=message.data,
        attributes=dict(message.attributes),
    )


def poison_subject(message_id: str) -> str:
    """What poison is kept under: it has no event_id that could be trusted."""
    return str(uuid.uuid5(_POISON, message_id))


def note_of(letter: DeadLetterRow, name: str) -> str | None:
    """What the worker noted: status, attempts, first_at, worker_version, source_message_id, delivery_attempt."""
    return letter.attributes.get(PREFIX + name)


def original(letter: DeadLetterRow) -> OutgoingMessage:
    """The message as it was on the forward topic."""
    theirs = {key: value for key, value in letter.attributes.items() if not key.startswith(_NOT_THE_ORIGINALS)}
    return OutgoingMessage(letter.data, forward_message.bounded_attributes(theirs))


def published_at(letter: DeadLetterRow) -> datetime | None:
    """When the message that died was published to the forward topic; None where it was no message, but a row."""
    return moment(note_of(letter, "first_at")) if note_of(letter, "source_message_id") else None


def native_deliveries(letter: DeadLetterRow) -> str | None:
    """How often Pub/Sub delivered the message before it gave up; None where it did not."""
    return letter.attributes.get(f"{NATIVE_PREFIX}DeliveryCount")


def moment(text: str | None) -> datetime | None:
    """None for what is no aware time: anybody may have written it."""
    try:
        at = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return None if at.tzinfo is None else at
