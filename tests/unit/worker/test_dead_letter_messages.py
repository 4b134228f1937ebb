"""What kind of dead letter a message of the dead-letter topic is."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shared.events import forward_message
from shared.events.dead_letter_table import LetterKind
from tests.support.sample_events import sample_event
from worker.dead_letter_messages import native_deliveries, original, poison_subject, published_at, read_dead_letter
from worker.dead_letter_publisher import PREFIX
from worker.subscription import ReceivedMessage

AT = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
HOUR = timedelta(hours=1)
REASONED = {PREFIX + "reason": "http_400", PREFIX + "last_at": (AT - HOUR).isoformat()}
NATIVE = {"CloudPubSubDeadLetterSourceDeliveryCount": "5"}


def received(data: bytes, attributes: dict[str, str], message_id: str = "1") -> ReceivedMessage:
    return ReceivedMessage(f"ack-{message_id}", message_id, data, attributes, AT, 0)


def dead_lettered(attributes: dict[str, str], message_id: str = "1", **fields: Any) -> ReceivedMessage:
    message = forward_message.encode(sample_event(**fields))
    return received(message.data, message.attributes | attributes, message_id)


def test_a_letter_of_ours_says_why_and_when() -> None:
    message = dead_lettered(REASONED)

    letter = read_dead_letter(message)

    assert (letter.kind, letter.reason, letter.dead_at) == (LetterKind.REASONED, "http_400", AT - HOUR)
    assert (letter.subject, letter.event_id) == (message.attributes["event_id"],) * 2
    assert (letter.data, letter.attributes, letter.message_id) == (message.data, message.attributes, "1")


def test_a_native_letter_has_no_reason_of_ours() -> None:
    letter = read_dead_letter(dead_lettered(NATIVE))

    assert (letter.kind, letter.reason, letter.dead_at) == (LetterKind.NATIVE, "native", AT)
    assert native_deliveries(letter) == "5"


@pytest.mark.parametrize("attributes", [{}, REASONED, NATIVE, {PREFIX + "last_at": "yesterday"}])
@pytest.mark.parametrize("data", [b"", b"{}", b"\x00\xff", b"[" * 20_000])
def test_what_does_not_decode_is_poison_whoever_dead_lettered_it(data: bytes, attributes: dict[str, str]) -> None:
    letter = read_dead_letter(received(data, attributes, "m-7"))

    assert letter.kind is LetterKind.POISON
    assert (letter.subject, letter.event_id) == (poison_subject("m-7"), None)


def test_poison_is_found_by_the_id_of_its_message() -> None:
    assert poison_subject("m-7") == poison_subject("m-7") != poison_subject("m-8")
    assert poison_subject("m-7") == "686e6765-2c33-535e-a47a-ab39ce1b7bf8"  # rows are kept under it


def test_what_poison_claims_to_be_is_kept_and_not_believed() -> None:
    event_id = sample_event().event_id

    letter = read_dead_letter(received(b"x", {"event_id": event_id, "event_name": "n"}))

    assert (letter.event_id, letter.event_name) == (event_id, "n")
    assert letter.subject != event_id


def test_what_is_replayed_is_the_original_message() -> None:
    message = forward_message.encode(sample_event(traceparent="00-1"))
    foreign = REASONED | NATIVE | {"googclient_x": "y"}

    letter = read_dead_letter(received(message.data, message.attributes | foreign))

    assert original(letter) == message


@pytest.mark.parametrize(
    ("notes", "at"),
    [
        ({"source_message_id": "7", "first_at": AT.isoformat()}, AT),
        ({"source_message_id": "7", "first_at": "yesterday"}, None),
        ({"source_message_id": "7", "first_at": "2026-03-04T05:06:07"}, None),
        ({"source_message_id": "", "first_at": AT.isoformat()}, None),
        ({}, None),
    ],
)
def test_it_tells_when_the_message_was_published_where_it_was_one(notes: dict[str, str], at: datetime | None) -> None:
    letter = read_dead_letter(dead_lettered({PREFIX + name: value for name, value in notes.items()}))

    assert published_at(letter) == at
