"""Parses messages of the dead-letter topic: their kind, reason, time and event. Pure."""

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
"""The reason of a dead letter that Pub/Sub made after too many deliveries; Pub/Sub itself gives none."""

NATIVE_PREFIX: Final = "CloudPubSubDeadLetterSource"
"""Prefix of the attributes that Pub/Sub adds to such a dead letter."""

_ADDED_PREFIXES: Final = ("goog", PREFIX, NATIVE_PREFIX)
"""Attributes that the original message did not have."""

_POISON_NAMESPACE: Final = uuid.UUID("0b1a7e0e-6a2c-4d0a-9a55-7f6b0d3a3f61")
"""UUID namespace of `poison_subject`. Must never change: rows are found by it."""


def read_dead_letter(message: ReceivedMessage) -> DeadLetterRow:
    """Parse a message. Never raises: bytes that do not decode are POISON."""
    reason = message.attributes.get(REASON_ATTRIBUTE)
    dead_at = moment(message.attributes.get(PREFIX + "last_at")) or message.publish_time
    try:
        event = forward_message.decode(message.data)
        uuid.UUID(event.event_id)
    except (UndecodableMessageError, ValueError):
        return DeadLetterRow(
            subject=poison_subject(message.message_id),
            message_id=message.message_id,
            kind=LetterKind.POISON,
            reason=reason or UndecodableMessageError.reason,
            dead_at=dead_at,
            event_id=message.attributes.get(EVENT_ID_ATTRIBUTE),
            event_name=message.attributes.get(EVENT_NAME_ATTRIBUTE),
            data=message.data,
            attributes=dict(message.attributes),
        )
    return DeadLetterRow(
        subject=event.event_id,
        message_id=message.message_id,
        kind=LetterKind.NATIVE if reason is None else LetterKind.REASONED,
        reason=reason or NATIVE,
        dead_at=dead_at,
        event_id=event.event_id,
        event_name=event.event_name,
        data=message.data,
        attributes=dict(message.attributes),
    )


def poison_subject(message_id: str) -> str:
    """The subject of a POISON dead letter, which has no event_id that could be trusted; stable per message."""
    return str(uuid.uuid5(_POISON_NAMESPACE, message_id))


def added_attribute(letter: DeadLetterRow, name: str) -> str | None:
    """An attribute that the worker added, by its name without prefix, such as `status` or `attempts`.

    `worker/dead_letter_publisher.py` has all names. None if it is absent, as in a native dead letter.
    """
    return letter.attributes.get(PREFIX + name)


def original(letter: DeadLetterRow) -> OutgoingMessage:
    """The message as it was on the forward topic, for a replay."""
    attributes = {key: value for key, value in letter.attributes.items() if not key.startswith(_ADDED_PREFIXES)}
    return OutgoingMessage(letter.data, forward_message.bounded_attributes(attributes))


def published_at(letter: DeadLetterRow) -> datetime | None:
    """When the original message was published to the forward topic. None if unknown, or if it was made from a row."""
    return moment(added_attribute(letter, "first_at")) if added_attribute(letter, "source_message_id") else None


def native_deliveries(letter: DeadLetterRow) -> str | None:
    """How often Pub/Sub delivered the message before it gave up; None unless the dead letter is native."""
    return letter.attributes.get(f"{NATIVE_PREFIX}DeliveryCount")


def moment(text: str | None) -> datetime | None:
    """Parse an ISO 8601 time; None unless it is valid and aware, since attributes may come from any publisher."""
    try:
        at = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return None if at.tzinfo is None else at
