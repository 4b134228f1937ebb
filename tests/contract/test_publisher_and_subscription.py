"""What every Publisher and Subscription do: the fakes of the unit tests, and Pub/Sub."""

from collections.abc import Sequence

import anyio
import pytest

from shared.errors import PublishFailedError, SubscriptionUnavailableError
from shared.events.forward_message import OutgoingMessage
from tests.support.emulators.brokers import ACK_DEADLINE_SECONDS, BACKOFF_SECONDS, MAX_ATTEMPTS, Broker
from worker.subscription import ReceivedMessage, Subscription

AT_ONCE = 0.1
"""Seconds in which nothing comes that is not there already."""

WITHIN = 5.0


def message(text: str, **attributes: str) -> OutgoingMessage:
    return OutgoingMessage(text.encode(), attributes)


async def collect(subscription: Subscription, count: int) -> list[ReceivedMessage]:
    """That many messages, by however many pulls: one may bring fewer than there are."""
    received: list[ReceivedMessage] = []
    give_up_at = anyio.current_time() + WITHIN
    while len(received) < count and (left := give_up_at - anyio.current_time()) > 0:
        # Never a shorter wait and another try: the emulator goes on with a pull that was given up, for nobody.
        received += await subscription.pull(max_messages=count - len(received), wait_seconds=left)
    assert len(received) == count
    return received


async def nothing_comes(subscription: Subscription) -> bool:
    return await subscription.pull(max_messages=10, wait_seconds=AT_ONCE) == []


def texts(received: Sequence[ReceivedMessage]) -> list[str]:
    return sorted(each.data.decode() for each in received)


async def nack(subscription: Subscription, received: Sequence[ReceivedMessage]) -> None:
    await subscription.extend([each.ack_id for each in received], seconds=0)


async def test_a_message_arrives_as_it_was_published(broker: Broker) -> None:
    attributes = {"event_id": "e-1", "ключ": "значение 🦜", "k" * 256: "v" * 1024}
    await broker.publisher.publish([OutgoingMessage(bytes(range(256)), attributes)])

    (received,) = await collect(broker.subscription, 1)

    assert received.data == bytes(range(256))
    assert received.attributes == attributes
    assert received.message_id
    assert received.publish_time.tzinfo is not None


async def test_messages_of_one_publish_all_arrive_under_ids_of_their_own(broker: Broker) -> None:
    await broker.publisher.publish([message(f"m-{number}") for number in range(30)])

    received = await collect(broker.subscription, 30)

    assert texts(received) == sorted(f"m-{number}" for number in range(30))
    assert len({each.message_id for each in received}) == 30
    assert len({each.ack_id for each in received}) == 30


async def test_more_messages_than_a_request_takes_are_published_and_acknowledged(broker: Broker) -> None:
    await broker.publisher.publish([message(f"m-{number}") for number in range(1_050)])

    received = await collect(broker.subscription, 1_050)
    await broker.subscription.acknowledge([each.ack_id for each in received])

    assert len({each.message_id for each in received}) == 1_050


async def test_publishing_and_acknowledging_nothing_is_no_error(broker: Broker) -> None:
    await broker.publisher.publish([])
    await broker.subscription.acknowledge([])
    await broker.subscription.extend([], seconds=30)

    assert await nothing_comes(broker.subscription)


async def test_a_message_that_can_never_be_published_is_refused(broker: Broker) -> None:
    with pytest.raises(PublishFailedError):
        await broker.publisher.publish([OutgoingMessage(b"", {})])


async def test_an_absent_topic_fails_a_publish(broker: Broker) -> None:
    with pytest.raises(PublishFailedError):
        await broker.absent_topic().publish([message("lost")])


async def test_an_absent_subscription_is_unavailable(broker: Broker) -> None:
    absent = broker.absent_subscription()

    with pytest.raises(SubscriptionUnavailableError):
        await absent.pull(max_messages=1, wait_seconds=WITHIN)
    with pytest.raises(SubscriptionUnavailableError):
        await absent.acknowledge(["a"])
    with pytest.raises(SubscriptionUnavailableError):
        await absent.extend(["a"], seconds=30)


async def test_a_pull_brings_no_more_than_asked_for(broker: Broker) -> None:
    await broker.publisher.publish([message(f"m-{number}") for number in range(5)])

    first = await broker.subscription.pull(max_messages=2, wait_seconds=WITHIN)
    rest = await collect(broker.subscription, 5 - len(first))

    assert len(first) <= 2
    assert texts([*first, *rest]) == [f"m-{number}" for number in range(5)]


async def test_a_pull_waits_for_a_first_message(broker: Broker) -> None:
    received: list[ReceivedMessage] = []

    async def pull() -> None:
        received.extend(await collect(broker.subscription, 1))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(pull)
        await anyio.sleep(AT_ONCE)
        assert not received
        await broker.publisher.publish([message("late")])

    assert texts(received) == ["late"]


async def test_a_leased_message_does_not_come_again_meanwhile(broker: Broker) -> None:
    await broker.publisher.publish([message("leased")])
    await collect(broker.subscription, 1)

    assert await nothing_comes(broker.subscription)


async def test_an_acknowledged_message_never_comes_again(broker: Broker) -> None:
    await broker.publisher.publish([message("done"), message("open")])
    received = await collect(broker.subscription, 2)
    done = [each.ack_id for each in received if each.data == b"done"]

    await broker.subscription.acknowledge(done)
    await broker.subscription.acknowledge(done)
    await nack(broker.subscription, received)

    assert texts(await collect(broker.subscription, 1)) == ["open"]
    assert await nothing_comes(broker.subscription)


async def test_a_message_given_back_comes_again_and_is_counted(broker: Broker) -> None:
    await broker.publisher.publish([message("again", kept="yes")])
    (first,) = await collect(broker.subscription, 1)

    await nack(broker.subscription, [first])
    (second,) = await collect(broker.subscription, 1)

    assert (second.message_id, second.data, second.attributes) == (first.message_id, first.data, first.attributes)
    assert second.ack_id != first.ack_id
    assert (first.delivery_attempt, second.delivery_attempt) == (1, 2)


async def test_a_lease_that_ends_brings_the_message_again_and_a_late_acknowledgement_does_nothing(
    broker: Broker,
) -> None:
    await broker.publisher.publish([message("slow")])
    (first,) = await collect(broker.subscription, 1)

    await broker.subscription.extend([first.ack_id], seconds=1)
    broker.time_passes(1)
    (second,) = await collect(broker.subscription, 1)
    await broker.subscription.acknowledge([first.ack_id])
    await broker.subscription.extend([first.ack_id], seconds=30)
    await nack(broker.subscription, [second])
    (third,) = await collect(broker.subscription, 1)

    assert [each.delivery_attempt for each in (first, second, third)] == [1, 2, 3]


async def test_an_extended_lease_outlasts_a_short_one(broker: Broker) -> None:
    await broker.publisher.publish([message("long"), message("short")])
    received = {each.data: each for each in await collect(broker.subscription, 2)}

    await broker.subscription.extend([received[b"short"].ack_id], seconds=1)
    await broker.subscription.extend([received[b"long"].ack_id], seconds=3 * ACK_DEADLINE_SECONDS)
    broker.time_passes(1)

    assert texts(await collect(broker.subscription, 1)) == ["short"]
    assert await nothing_comes(broker.subscription)


async def test_each_subscription_has_its_own_copy_and_its_own_leases(broker: Broker) -> None:
    await broker.publisher.publish([message("both")])

    (one,) = await collect(broker.subscription, 1)
    (two,) = await collect(broker.other, 1)
    await broker.subscription.acknowledge([one.ack_id])
    await nack(broker.other, [two])
    broker.time_passes(BACKOFF_SECONDS)

    assert one.message_id == two.message_id
    assert texts(await collect(broker.other, 1)) == ["both"]
    assert await nothing_comes(broker.subscription)


async def test_without_native_dead_lettering_deliveries_are_not_counted(
    broker: Broker, request: pytest.FixtureRequest
) -> None:
    if request.node.callspec.params["broker"] == "emulator":
        request.applymarker(pytest.mark.xfail(strict=True, reason="the emulator counts them on every subscription"))
    await broker.publisher.publish([message("uncounted")])

    (received,) = await collect(broker.other, 1)

    assert received.delivery_attempt == 0


async def test_after_the_last_attempt_a_message_is_dead_lettered_natively(broker: Broker) -> None:
    await broker.publisher.publish([message("hopeless", event_id="e-9")])

    attempts = []
    for _ in range(MAX_ATTEMPTS):
        (received,) = await collect(broker.subscription, 1)
        attempts.append(received.delivery_attempt)
        await nack(broker.subscription, [received])
    letters: list[ReceivedMessage] = []
    async with anyio.create_task_group() as tasks:

        async def keep_pulling() -> None:
            # The emulator dead-letters when it is next asked for the message.
            while not letters:
                assert await nothing_comes(broker.subscription)

        tasks.start_soon(keep_pulling)
        letters += await collect(broker.dead_letters, 1)
    (letter,) = letters

    assert attempts == [1, 2, 3, 4, 5]
    assert letter.data == b"hopeless"
    assert letter.attributes["event_id"] == "e-9"
    assert letter.attributes["CloudPubSubDeadLetterSourceDeliveryCount"] == str(MAX_ATTEMPTS)
    assert await nothing_comes(broker.subscription)
