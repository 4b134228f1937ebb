"""Dead letters carry the original bytes and the reason, within Pub/Sub's limits."""

from datetime import UTC, datetime
from typing import Any

import pytest

from shared.errors import PublishFailedError
from shared.events.forward_message import MAX_ATTRIBUTES, OutgoingMessage
from tests.support.fakes.manual_clock import ManualClock
from tests.support.fakes.memory_pubsub import MemoryTopic
from worker.dead_letter_publisher import PREFIX, DeadLetter, DeadLetterPublisher
from worker.subscription import ReceivedMessage

PUBLISHED_AT = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
GIVEN_UP_AT = datetime(2026, 3, 4, 6, 0, tzinfo=UTC)


def letter(data: bytes = b"{}", attributes: dict[str, str] | None = None, **fields: Any) -> DeadLetter:
    message = ReceivedMessage("ack-1", "m-1", data, attributes or {}, PUBLISHED_AT, 4)
    defaults: dict[str, Any] = {"reason": "http_400", "status": 400, "attempts": 2, "at": GIVEN_UP_AT}
    return DeadLetter(message, **defaults | fields)


@pytest.fixture
def topic() -> MemoryTopic:
    return MemoryTopic(ManualClock())


async def published(topic: MemoryTopic, *letters: DeadLetter) -> list[OutgoingMessage]:
    await DeadLetterPublisher(topic).publish(letters)
    return topic.published


async def test_the_original_bytes_are_kept_whatever_they_are(topic: MemoryTopic) -> None:
    data = bytes(range(256))

    (dead,) = await published(topic, letter(data))

    assert dead.data == data


async def test_attributes_say_why_when_and_where_from(topic: MemoryTopic) -> None:
    (dead,) = await published(topic, letter(attributes={"event_id": "e-1", "traceparent": "00-1"}))

    version = dead.attributes.pop(PREFIX + "worker_version")
    assert version
    assert dead.attributes == {
        "event_id": "e-1",
        "traceparent": "00-1",
        PREFIX + "reason": "http_400",
        PREFIX + "status": "400",
        PREFIX + "attempts": "2",
        PREFIX + "first_at": "2026-03-04T05:06:07+00:00",
        PREFIX + "last_at": "2026-03-04T06:00:00+00:00",
        PREFIX + "source_message_id": "m-1",
        PREFIX + "delivery_attempt": "4",
    }


async def test_without_a_status_none_is_claimed(topic: MemoryTopic) -> None:
    (dead,) = await published(topic, letter(reason="undecodable", status=None))

    assert PREFIX + "status" not in dead.attributes
    assert dead.attributes[PREFIX + "reason"] == "undecodable"


async def test_what_pubsub_reserves_and_what_an_earlier_death_said_is_dropped(topic: MemoryTopic) -> None:
    theirs = {"googclient_schemaencoding": "JSON", "goog": "x", PREFIX + "reason": "old", PREFIX + "foreign": "x"}

    (dead,) = await published(topic, letter(attributes=theirs | {"kept": "yes"}))

    assert [key for key in dead.attributes if not key.startswith(PREFIX)] == ["kept"]
    assert dead.attributes[PREFIX + "reason"] == "http_400"
    assert PREFIX + "foreign" not in dead.attributes


async def test_of_too_many_attributes_ours_are_all_kept(topic: MemoryTopic) -> None:
    theirs = {f"key-{number:03}": "v" for number in range(MAX_ATTRIBUTES)}

    (dead,) = await published(topic, letter(attributes=theirs))

    assert len(dead.attributes) <= MAX_ATTRIBUTES
    assert sum(key.startswith(PREFIX) for key in dead.attributes) == 8
    assert sum(key.startswith("key-") for key in dead.attributes) == MAX_ATTRIBUTES - 9


async def test_attributes_that_are_too_long_are_cut_and_not_refused(topic: MemoryTopic) -> None:
    (dead,) = await published(topic, letter(attributes={"🦜" * 200: "値" * 2000}))

    (key,) = [key for key in dead.attributes if not key.startswith(PREFIX)]
    assert key == "🦜" * 64
    assert dead.attributes[key] == "値" * 341


async def test_nothing_to_publish_publishes_nothing(topic: MemoryTopic) -> None:
    await DeadLetterPublisher(topic).publish([])

    assert topic.failures.journal == []


async def test_a_publish_that_fails_is_told(topic: MemoryTopic) -> None:
    topic.failures.fail_next("publish", PublishFailedError("down"))

    with pytest.raises(PublishFailedError):
        await published(topic, letter())
