"""The double of production's Pub/Sub shows our adapters each manner: of pulls, leases and failures."""

from collections.abc import AsyncIterator
from itertools import chain, pairwise
from typing import Any

import anyio
import pytest
from google.api_core import exceptions as google
from google.pubsub_v1 import (
    PubsubMessage,
)

from deploy.local.emulators import Emulators
from shared.errors import SubscriptionUnavailableError
from tests.support.emulators.brokers import ACK_DEADLINE_SECONDS
from tests.support.emulators.pubsub_manners.behind import (
    AT_ONCE,
    WITHIN,
    Behind,
    behind_double,
    collect,
    numbered,
    only,
    pulls_of,
    texts,
)

pytestmark = pytest.mark.emulators


@pytest.fixture
async def behind(request: pytest.FixtureRequest, emulators: Emulators) -> AsyncIterator[Behind]:
    async with behind_double(emulators, request.param) as found:
        yield found


@only(partial_share=1)
async def test_a_pull_brings_fewer_than_asked_for_and_the_rest_comes_later(behind: Behind) -> None:
    await behind.publish(50)

    pulls = await pulls_of(behind.subscription, 50, each=50)

    assert behind.counts.partial_pulls >= 1
    assert len(pulls[0]) < 50
    assert sorted(texts(chain(*pulls))) == numbered(50)


@only(empty_share=0.5, empty_seconds=(0.0, 0.05))
async def test_a_pull_brings_nothing_although_messages_are_there(behind: Behind) -> None:
    await behind.publish(20)

    pulls = await pulls_of(behind.subscription, 20, each=1)

    assert pulls.count([]) == behind.counts.empty_pulls > 0
    assert sorted(texts(chain(*pulls))) == numbered(20)


@only(empty_share=1, empty_seconds=(60.0, 60.0))
async def test_a_pull_waits_its_whole_time_for_nothing_although_messages_are_there(behind: Behind) -> None:
    await behind.publish(1)

    assert await behind.subscription.pull(max_messages=1, wait_seconds=AT_ONCE) == []
    assert behind.counts.empty_pulls == 1
    assert await collect(behind.direct.subscription, 1)


@only(abandoned_keep_leases=True, call_seconds=(AT_ONCE, AT_ONCE))
async def test_a_cancelled_pull_leaves_its_messages_leased_until_their_ack_deadline(behind: Behind) -> None:
    await behind.publish(3)
    with anyio.move_on_after(AT_ONCE / 2):
        await behind.subscription.pull(max_messages=10)
    began = anyio.current_time()

    is_empty = await behind.is_empty()
    received = await collect(behind.subscription, 3)

    assert is_empty
    assert behind.counts.left_leased == 3
    assert anyio.current_time() - began > 0.9 * ACK_DEADLINE_SECONDS
    assert sorted(texts(received)) == numbered(3)


@only(abandoned_keep_leases=True, abandoned_seconds=(60.0, 60.0))
async def test_a_pull_whose_client_has_gone_takes_what_is_published_next(behind: Behind) -> None:
    assert await behind.subscription.pull(max_messages=10, wait_seconds=AT_ONCE) == []
    await behind.publish(1)

    with anyio.fail_after(WITHIN):
        while behind.counts.left_leased == 0:
            await anyio.sleep(0.01)
    assert await behind.is_empty()


@only(shuffles=True)
async def test_messages_of_one_answer_are_in_no_order(behind: Behind) -> None:
    await behind.publish(50)

    (received,) = await pulls_of(behind.subscription, 50)

    assert behind.counts.shuffled == 1
    assert texts(received) != numbered(50) == sorted(texts(received))


@only(late_share=0.5, late_seconds=(0.0, 0.1))
async def test_messages_come_behind_others_that_were_published_later(behind: Behind) -> None:
    await behind.publish(40)

    pulls = await pulls_of(behind.subscription, 40, each=5)

    assert behind.counts.late > 0
    assert any(max(texts(one)) > min(texts(next_)) for one, next_ in pairwise(filter(None, pulls)))
    assert sorted(texts(chain(*pulls))) == numbered(40)


@only(late_share=1, late_seconds=(60.0, 60.0))
async def test_a_double_that_ends_gives_back_what_it_holds(behind: Behind) -> None:
    await behind.publish(2)
    assert await behind.subscription.pull(max_messages=10, wait_seconds=AT_ONCE) == []

    await behind.double.pulling.close()

    assert behind.counts.late == 2
    assert sorted(texts(await collect(behind.direct.subscription, 2))) == numbered(2)


@only(copies_share=1, late_seconds=(0.0, 0.01))
async def test_a_leased_message_comes_again_under_another_ack_id_which_acknowledges_it_too(behind: Behind) -> None:
    await behind.publish(5)

    first = await collect(behind.subscription, 5)
    second = await collect(behind.subscription, 5)
    await behind.subscription.acknowledge([each.ack_id for each in second])
    await behind.subscription.extend([each.ack_id for each in first], seconds=0)

    assert behind.counts.copies == 5
    assert {each.message_id for each in first} == {each.message_id for each in second}
    assert not {each.ack_id for each in first} & {each.ack_id for each in second}
    assert await behind.subscription.pull(max_messages=10, wait_seconds=AT_ONCE) == []


@only(call_seconds=(0.05, 0.06), ack_seconds=(0.03, 0.04))
async def test_calls_take_their_time(behind: Behind) -> None:
    async def seconds(call: Any) -> float:
        began = anyio.current_time()
        await call
        return anyio.current_time() - began

    assert await seconds(behind.publish(1)) >= 0.05
    assert await seconds(behind.subscription.pull(max_messages=1)) >= 0.05
    (received,) = await collect(behind.other, 1)
    assert await seconds(behind.other.extend([received.ack_id], seconds=20)) >= 0.03
    assert await seconds(behind.other.acknowledge([received.ack_id])) >= 0.03


@only(ignored_acks_share=1)
async def test_an_acknowledgement_is_taken_and_the_message_comes_again(behind: Behind) -> None:
    await behind.publish(1)
    (first,) = await collect(behind.subscription, 1)

    await behind.subscription.extend([first.ack_id], seconds=1)
    await behind.subscription.acknowledge([first.ack_id])
    (second,) = await collect(behind.subscription, 1)

    assert behind.counts.ignored_acks == 1
    assert second.message_id == first.message_id


@only(ignored_deadlines_share=1)
async def test_a_new_deadline_is_taken_and_the_old_one_stays(behind: Behind) -> None:
    await behind.publish(1)
    (received,) = await collect(behind.subscription, 1)

    await behind.subscription.extend([received.ack_id], seconds=0)

    assert await behind.subscription.pull(max_messages=1, wait_seconds=AT_ONCE) == []
    assert behind.counts.ignored_deadlines == 1


@only(ack_id_chars=200)
async def test_what_comes_too_late_for_a_lease_is_no_error_and_does_nothing(behind: Behind) -> None:
    await behind.publish(1)
    (first,) = await collect(behind.subscription, 1)
    await behind.subscription.extend([first.ack_id], seconds=1)
    (second,) = await collect(behind.subscription, 1)

    await behind.subscription.acknowledge([first.ack_id])
    await behind.subscription.extend([first.ack_id], seconds=60)
    await behind.subscription.extend([second.ack_id], seconds=0)

    assert len(first.ack_id) == 200
    assert len(await collect(behind.subscription, 1)) == 1


@only(wrong_attempts_share=1, counts_only_with_dead_lettering=True)
async def test_deliveries_are_counted_approximately_and_only_with_dead_lettering(behind: Behind) -> None:
    await behind.publish(30)

    counted = await collect(behind.subscription, 30)
    uncounted = await collect(behind.other, 30)

    assert {each.delivery_attempt for each in counted} == {1, 2, 3}
    assert behind.counts.wrong_attempts == sum(each.delivery_attempt != 1 for each in counted)
    assert {each.delivery_attempt for each in uncounted} == {0}


@only(unavailable_share=1)
async def test_a_call_is_unavailable_and_without_effect(behind: Behind) -> None:
    with pytest.raises(SubscriptionUnavailableError):
        await behind.subscription.pull(max_messages=1)
    with pytest.raises(google.ServiceUnavailable):
        await behind.publishing.publish(
            topic=behind.direct._path("topics", "topic"), messages=[PubsubMessage(data=b"x")], retry=None
        )

    assert behind.counts.unavailable == 2
    assert await behind.is_empty()


@only(internal_share=1, unanswered_share=1)
async def test_a_call_fails_and_has_taken_effect(behind: Behind) -> None:
    for _ in range(2):
        with pytest.raises(google.InternalServerError):
            await behind.publishing.publish(
                topic=behind.direct._path("topics", "topic"), messages=[PubsubMessage(data=b"x")], retry=None
            )

    assert behind.counts.internal == behind.counts.unanswered == 2
    assert len(await collect(behind.direct.subscription, 2)) == 2
