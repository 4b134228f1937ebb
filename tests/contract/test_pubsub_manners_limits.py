"""The double of production's Pub/Sub refuses what production refuses, with the same messages."""

from collections.abc import AsyncIterator

import pytest
from google.api_core import exceptions as google
from google.pubsub_v1 import (
    PubsubMessage,
)

from deploy.local.emulators import Emulators
from tests.support.emulators.pubsub_manners.behind import (
    Behind,
    behind_double,
    collect,
    only,
)

pytestmark = pytest.mark.emulators


@pytest.fixture
async def behind(request: pytest.FixtureRequest, emulators: Emulators) -> AsyncIterator[Behind]:
    async with behind_double(emulators, request.param) as found:
        yield found


FITS = [
    PubsubMessage(data=b"x", attributes={"k" * 256: "v" * 1024}),
    PubsubMessage(attributes={f"k{number}": "" for number in range(100)}),
    PubsubMessage(data=b"x", attributes={"googclient_traceparent": "00"}),
]

TOO_MUCH = {
    "empty": ([PubsubMessage()], "Each message must contain either non-empty data, or at least one attribute."),
    "key": (
        [PubsubMessage(data=b"x", attributes={"ключ" * 33: ""})],
        "has a key that is too long. The length is 264 characters, but the maximum allowed is 256.",
    ),
    "value": (
        [*FITS, PubsubMessage(data=b"x", attributes={"k": "v" * 1025})],
        '"k" in the request has a value that is too long. The length is 1025 characters, but the maximum allowed is 10',
    ),
    "attributes": ([PubsubMessage(attributes={f"k{number}": "" for number in range(101)})], "too many attributes"),
    "reserved": ([PubsubMessage(data=b"x", attributes={"google": ""})], 'begins with "goog"'),
    "messages": (
        [PubsubMessage(data=b"x")] * 1001,
        "The value for 1001 is too large. You passed message_count in the request, but the maximum value is 1000.",
    ),
    "no messages": ([], "The value for message_count is too small."),
    "bytes": ([PubsubMessage(data=bytes(5_000_000))] * 2, "You passed request_size in the request"),
}


@only(limits=True)
@pytest.mark.parametrize("name", TOO_MUCH)
async def test_a_publish_over_a_limit_is_refused_as_a_whole(behind: Behind, name: str) -> None:
    topic = behind.direct._path("topics", "topic")
    messages, text = TOO_MUCH[name]
    await behind.publishing.publish(topic=topic, messages=FITS)

    with pytest.raises(google.InvalidArgument) as refusal:
        await behind.publishing.publish(topic=topic, messages=messages)

    assert text in str(refusal.value)
    assert behind.counts.refused == 1
    assert len(await collect(behind.direct.subscription, len(FITS))) == len(FITS)


@only(limits=True, ack_id_chars=200)
async def test_acknowledgements_and_deadlines_over_a_limit_are_refused(behind: Behind) -> None:
    subscription = behind.direct._path("subscriptions", "subscription")
    await behind.publish(1)
    (received,) = await collect(behind.subscription, 1)
    ids = [received.ack_id]

    refusals = []
    for call, arguments in (
        (behind.subscribing.acknowledge, {"ack_ids": ids * 2600}),
        (behind.subscribing.acknowledge, {"ack_ids": []}),
        (behind.subscribing.modify_ack_deadline, {"ack_ids": ids * 2600, "ack_deadline_seconds": 10}),
        (behind.subscribing.modify_ack_deadline, {"ack_ids": ids, "ack_deadline_seconds": 601}),
        (behind.subscribing.modify_ack_deadline, {"ack_ids": ids, "ack_deadline_seconds": -1}),
        (behind.subscribing.pull, {"max_messages": 0}),
    ):
        with pytest.raises(google.InvalidArgument) as refusal:
            await call(subscription=subscription, **arguments)
        refusals.append(refusal.value.message)
    await behind.subscription.extend(ids * 1000, seconds=600)
    await behind.subscription.acknowledge(ids * 1000)

    too_large = "Request payload size exceeds the limit: 524288 bytes."
    out_of_range = "Invalid ack deadline given (ack_deadline={}). The ack deadline must be between 0 and 600 seconds."
    invalid = "You have passed an invalid argument to the service (argument={})."
    assert refusals == [
        too_large,
        invalid.format("ack_ids"),
        too_large,
        out_of_range.format(601),
        out_of_range.format(-1),
        invalid.format("max_messages"),
    ]
