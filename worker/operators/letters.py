"""A dead letter as it lies there: what kind it is, why, when, of which event; pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final

from shared import forward_message
from shared.errors import UndecodableMessageError
from shared.event import Event
from shared.forward_message import EVENT_ID_ATTRIBUTE, OutgoingMessage
from worker.dead_letters import PREFIX
from worker.subscription import ReceivedMessage

NATIVE: Final = "native"
"""The reason of a dead letter that Pub/Sub made after too many deliveries: it gives none."""

_NATIVE_PREFIX: Final = "CloudPubSubDeadLetterSource"
_NOT_THE_ORIGINALS: Final = ("goog", PREFIX, _NATIVE_PREFIX)


class Kind(StrEnum):
    REASONED = "reasoned"
    """Dead-lettered by the worker, with its reason."""

    NATIVE = "native"
    POISON = "poison"
    """Bytes that are no forward message, whoever dead-lettered them. Never replayed."""


@dataclass(frozen=True, slots=True)
class Letter:
    """One message on the dead-letter subscription."""

    message: ReceivedMessage
    kind: Kind
    reason: str
    dead_at: datetime
    """By the worker's note, else when it was published here. Aware."""

    event: Event | None
    """None where it is poison."""

    @property
    def subject(self) -> str:
        """What letters are grouped by: the event, or of poison the message itself."""
        return self.message.message_id if self.event is None else self.event.event_id

    @property
    def event_id(self) -> str | None:
        """Of poison, what its attributes claim."""
        return self.message.attributes.get(EVENT_ID_ATTRIBUTE) if self.event is None else self.event.event_id

    @property
    def event_name(self) -> str | None:
        return self.message.attributes.get("event_name") if self.event is None else self.event.event_name

    def note(self, name: str) -> str | None:
        """What the worker noted: status, attempts, first_at, worker_version, source_message_id, delivery_attempt."""
        return self.message.attributes.get(PREFIX + name)

    @property
    def published_at(self) -> datetime | None:
        """When the message that died was published to the forward topic; None where it was no message, but a row."""
        return _moment(self.note("first_at")) if self.note("source_message_id") else None

    @property
    def native_deliveries(self) -> str | None:
        return self.message.attributes.get(f"{_NATIVE_PREFIX}DeliveryCount")

    def original(self) -> OutgoingMessage:
        """The message as it was on the forward topic."""
        theirs = {k: v for k, v in self.message.attributes.items() if not k.startswith(_NOT_THE_ORIGINALS)}
        return OutgoingMessage(self.message.data, forward_message.bounded_attributes(theirs))


@dataclass(slots=True)
class Casualty:
    """An event with every dead letter of it, or one message of poison."""

    subject: str
    letters: list[Letter] = field(default_factory=list)

    @property
    def latest(self) -> Letter:
        return max(self.letters, key=lambda letter: letter.dead_at)

    @property
    def dead_at(self) -> datetime:
        return self.latest.dead_at

    @property
    def messages(self) -> Sequence[ReceivedMessage]:
        return [letter.message for letter in self.letters]


def read_letter(message: ReceivedMessage) -> Letter:
    """Make out what lies there; total."""
    noted = message.attributes.get(PREFIX + "reason")
    try:
        event = forward_message.decode(message.data)
    except UndecodableMessageError as error:
        return Letter(message, Kind.POISON, noted or error.reason, _dead_at(message), None)
    kind = Kind.NATIVE if noted is None else Kind.REASONED
    return Letter(message, kind, noted or NATIVE, _dead_at(message), event)


def by_subject(letters: Iterable[Letter]) -> list[Casualty]:
    """Grouped, those that died first coming first. A message that came twice counts once, by its last delivery."""
    found: dict[str, Casualty] = {}
    for letter in {letter.message.message_id: letter for letter in letters}.values():
        found.setdefault(letter.subject, Casualty(letter.subject)).letters.append(letter)
    return sorted(found.values(), key=lambda casualty: (casualty.dead_at, casualty.subject))


def _dead_at(message: ReceivedMessage) -> datetime:
    return _moment(message.attributes.get(PREFIX + "last_at")) or message.publish_time


def _moment(text: str | None) -> datetime | None:
    """None for what is no aware time: anybody may have written it."""
    try:
        at = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return None if at.tzinfo is None else at
