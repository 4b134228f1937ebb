"""The double of production's Pub/Sub with all manners, with none, twice with the same seed, and as a process."""

import re
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import grpc
import pytest
from google.pubsub_v1 import (
    AcknowledgeRequest,
    GetTopicRequest,
    ModifyAckDeadlineRequest,
    PublishRequest,
    PubsubMessage,
    PullRequest,
    PullResponse,
    Topic,
)
from google.pubsub_v1 import Subscription as Resource

from deploy.local.emulators import Emulators, local_channel
from deploy.local.provision import StackNames
from shared.errors import PublishFailedError, SubscriptionUnavailableError
from shared.events.forward_message import OutgoingMessage
from tests.support.emulators.brokers import ACK_DEADLINE_SECONDS, pubsub_broker
from tests.support.emulators.pubsub_manners.behind import (
    WITHIN,
    Behind,
    behind_double,
    numbered,
    texts,
)
from tests.support.emulators.pubsub_manners.double import pubsub_double
from tests.support.emulators.pubsub_manners.manners import KIND, Counts, Manners
from tests.support.emulators.pubsub_manners.process import double_process
from tests.support.emulators.pubsub_manners.upstream import PUBLISHER, SUBSCRIBER

pytestmark = pytest.mark.emulators


@pytest.fixture
async def behind(request: pytest.FixtureRequest, emulators: Emulators) -> AsyncIterator[Behind]:
    async with behind_double(emulators, request.param) as found:
        yield found


@pytest.mark.timeout(120)  # what was leased to nobody, or acknowledged in vain, comes after 10 s, and may be so again
@pytest.mark.parametrize(
    "behind", [Manners(seed=7, unavailable_share=0.05, internal_share=0.05)], indirect=True, ids=["as production"]
)
async def test_with_all_manners_every_message_is_received_and_acknowledged_at_last(behind: Behind) -> None:
    expected = numbered(500)
    for start in range(0, 500, 25):
        batch = [OutgoingMessage(text.encode(), {}) for text in expected[start : start + 25]]
        while True:
            try:
                await behind.publisher.publish(batch)
                break
            except PublishFailedError:
                continue

    received: set[str] = set()
    quiet_since = anyio.current_time()
    with anyio.fail_after(100):
        # All are acknowledged once none comes for longer than a lease.
        while anyio.current_time() - quiet_since < ACK_DEADLINE_SECONDS + 1:
            try:
                pulled = await behind.other.pull(max_messages=100, wait_seconds=1)
                if pulled:
                    quiet_since = anyio.current_time()
                    received |= set(texts(pulled))
                    await behind.other.acknowledge([each.ack_id for each in pulled])
            except SubscriptionUnavailableError:
                continue

    assert received == set(expected)
    counts = behind.counts
    # Of the others too few are to be expected to be sure of one.
    assert min(counts.partial_pulls, counts.shuffled, counts.late, counts.unavailable + counts.internal) > 0


def requests(topic: str, subscription: str) -> list[tuple[str, Any]]:
    """Also errors, and a method that the double does not know."""
    first = f"{subscription}:1"
    large = PubsubMessage(data=b"x", attributes={"a": "b" * 2000})
    return [
        (f"{PUBLISHER}GetTopic", GetTopicRequest(topic=topic)),
        (f"{PUBLISHER}CreateTopic", Topic(name=topic)),
        (f"{SUBSCRIBER}CreateSubscription", Resource(name=subscription, topic=topic)),
        (f"{PUBLISHER}Publish", PublishRequest(topic=topic)),
        (f"{PUBLISHER}Publish", PublishRequest(topic=topic, messages=[large])),
        (f"{SUBSCRIBER}Pull", PullRequest(subscription=subscription, max_messages=5)),
        (f"{SUBSCRIBER}Pull", PullRequest(subscription=subscription, max_messages=0)),
        (f"{SUBSCRIBER}ModifyAckDeadline", ModifyAckDeadlineRequest(subscription=subscription, ack_ids=[first])),
        (f"{SUBSCRIBER}Acknowledge", AcknowledgeRequest(subscription=subscription, ack_ids=[first])),
        (f"{SUBSCRIBER}Acknowledge", AcknowledgeRequest(subscription=subscription, ack_ids=["nonsense"])),
        (f"{SUBSCRIBER}Unheard", AcknowledgeRequest()),
    ]


async def answers(host: str) -> list[str]:
    """To these requests, without the names and numbers that are another each time."""
    unique = uuid.uuid4().hex
    found: list[str] = []
    async with local_channel(host) as channel:
        for method, request in requests(f"projects/p/topics/t{unique}", f"projects/p/subscriptions/s{unique}"):
            try:
                answer = await channel.unary_unary(method)(type(request).serialize(request), timeout=WITHIN)
                if method.endswith("/Pull"):
                    (message,) = PullResponse.deserialize(answer).received_messages
                    answer = message.ack_id, message.message.data, message.message.attributes, message.delivery_attempt
                found.append(str(answer))
            except grpc.aio.AioRpcError as error:
                found.append(f"{error.code()} {error.details()}")
    return [re.sub("[0-9]+", "0", each.replace(unique, "")) for each in found]


async def test_without_manners_every_answer_is_the_emulators(emulators: Emulators) -> None:
    async with pubsub_double(emulators.pubsub_host, KIND) as double:
        behind, direct = await answers(double.address), await answers(emulators.pubsub_host)

    assert behind == direct
    assert double.counts == Counts(calls=len(behind))


async def test_the_same_seed_and_the_same_calls_give_the_same_manners(emulators: Emulators) -> None:
    drawn = replace(Manners(seed=3), late_share=0, copies_share=0, abandoned_keep_leases=False, ack_seconds=(0.0, 0.0))

    async def met() -> tuple[Counts, list[list[str]]]:
        async with behind_double(emulators, drawn) as behind:
            await behind.publisher.publish([OutgoingMessage(text.encode(), {}) for text in numbered(60)])
            pulls: list[list[str]] = []
            while sum(map(len, pulls)) < 60:
                pulls.append(texts(await behind.subscription.pull(max_messages=20, wait_seconds=WITHIN)))
            return behind.counts, pulls

    assert await met() == await met()


@pytest.mark.processes
async def test_it_runs_as_a_process_and_tells_what_it_has_done(emulators: Emulators, tmp_path: Path) -> None:
    environment = StackNames.unique("m").variables
    async with double_process(emulators.pubsub_host, replace(KIND, empty_share=1), tmp_path) as process:
        async with pubsub_broker(environment | {"PUBSUB_EMULATOR_HOST": process.address}) as broker:
            await broker.publisher.publish([OutgoingMessage(b"x", {})])
            assert await broker.subscription.pull(max_messages=1) == []
        counts = await process.counts()
    log = (tmp_path / "pubsub-manners.log").read_text()

    assert counts.empty_pulls == 1
    assert log.splitlines()[-1] == counts.as_json()
