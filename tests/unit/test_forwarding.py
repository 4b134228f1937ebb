"""What becomes of a pulled batch where everything but Statsig works: the rows of the design's table."""

from collections.abc import Iterator

import pytest
import stamina

from shared import forward_message
from shared.event import Event
from shared.forward_ledger import Attempt, ForwardState, Standing
from shared.forward_message import OutgoingMessage
from tests.support.sample_events import sample_event
from tests.support.scripted_forwarder import REFUSED, REJECTED, TIMED_OUT, UNAVAILABLE
from tests.support.worker_world import WorkerWorld
from worker.circuit import DEAD_LETTER_SHARE
from worker.dead_letters import PREFIX
from worker.forwarding import MISSING_ROW_DELIVERIES, Fate

ANOTHER = "another-batch"


@pytest.fixture(autouse=True)
def no_backoff() -> Iterator[None]:
    with stamina.set_testing(True, attempts=1):
        yield


@pytest.fixture
async def world() -> WorkerWorld:
    return WorkerWorld()


async def fates(world: WorkerWorld) -> list[Fate]:
    """Of whatever can be pulled, in order."""
    messages = await world.pull()
    decided = await world.forwarding.forward(messages)
    assert set(decided) == {message.ack_id for message in messages}
    return [decided[message.ack_id] for message in messages]


def dead_letter_reasons(world: WorkerWorld) -> list[str]:
    return [letter.attributes[PREFIX + "reason"] for letter in world.dead_letter_topic.published]


async def test_confirmed_events_are_settled_as_delivered_and_done(world: WorkerWorld) -> None:
    events = await world.log(3)

    assert await fates(world) == [Fate.DONE] * 3

    assert world.states() == [ForwardState.DELIVERED] * 3
    assert world.forwarder.taken == {event.event_id: 1 for event in events}
    row = world.row(events[0].event_id)
    assert (row.attempts, row.last_reason, row.last_status, row.possible_duplicates) == (1, "http_202", 202, 0)


async def test_the_order_is_claim_send_settle(world: WorkerWorld) -> None:
    await world.log(2)
    messages = await world.pull()
    world.journal.clear()

    await world.forwarding.forward(messages)

    assert world.journal == ["claim", "send", "settle_delivered"]


async def test_an_empty_batch_asks_nobody_anything(world: WorkerWorld) -> None:
    assert await world.forwarding.forward([]) == {}
    assert world.journal == []


async def test_messages_of_one_event_are_one_event_and_share_its_fate(world: WorkerWorld) -> None:
    (event,) = await world.log(1)
    await world.publish([event, event])

    assert await fates(world) == [Fate.DONE] * 3

    assert world.forwarder.requests == [[event.event_id]]


async def test_what_is_settled_already_is_done_without_sending(world: WorkerWorld) -> None:
    delivered, dead = await world.log(2)
    await world.ledger.settle_delivered([Attempt(delivered.event_id, 1, 0, world.clock.now(), "http_202", 202, ())])
    await world.ledger.claim([dead.event_id], token=ANOTHER, seconds=60)
    buried = Attempt(dead.event_id, 1, 0, world.clock.now(), "http_400", 400, ())
    await world.ledger.settle_dead([buried], token=ANOTHER)

    assert await fates(world) == [Fate.DONE, Fate.DONE]

    assert world.forwarder.requests == []


async def test_what_another_batch_holds_is_left_for_later(world: WorkerWorld) -> None:
    held, free = await world.log(2)
    await world.ledger.claim([held.event_id], token=ANOTHER, seconds=60)

    assert await fates(world) == [Fate.LATER, Fate.DONE]

    assert world.forwarder.requests == [[free.event_id]]
    assert world.row(held.event_id).claim_token == ANOTHER


async def test_what_another_batch_held_and_died_with_is_sent_and_counted(world: WorkerWorld) -> None:
    (event,) = await world.log(1)
    await world.ledger.claim([event.event_id], token=ANOTHER, seconds=60)
    world.clock.advance(61)

    assert await fates(world) == [Fate.DONE]

    assert world.row(event.event_id).possible_duplicates == 1


async def test_what_may_pass_is_released_for_later_when_the_budget_is_spent() -> None:
    world = WorkerWorld(budget_seconds=0)
    world.random.share = 0.5
    (event,) = await world.log(1)
    world.forwarder.script.append(UNAVAILABLE)

    assert await fates(world) == [Fate.LATER]

    row = world.row(event.event_id)
    assert (row.state, row.attempts, row.last_reason) == (ForwardState.PENDING, 1, "http_503")
    assert (row.claim_token, row.possible_duplicates) == (None, 0)


async def test_an_unknown_outcome_is_noted_with_the_release() -> None:
    world = WorkerWorld(budget_seconds=0)
    world.random.share = 0.5
    (event,) = await world.log(1)
    world.forwarder.script.append(TIMED_OUT)

    assert await fates(world) == [Fate.LATER]

    row = world.row(event.event_id)
    assert (row.claim_token, row.attempts, row.possible_duplicates) == (None, 1, 1)
    assert row.last_reason == "timeout"


async def test_an_outage_holds_messages_and_releases_their_claims(world: WorkerWorld) -> None:
    (event,) = await world.log(1)
    world.forwarder.always = UNAVAILABLE

    assert await fates(world) == [Fate.HELD]

    assert world.row(event.event_id).claim_token is None
    assert world.row(event.event_id).state == ForwardState.PENDING


async def test_a_refusal_holds_everything_and_dead_letters_nothing(world: WorkerWorld) -> None:
    await world.log(3)
    world.forwarder.script.append(REFUSED)

    assert await fates(world) == [Fate.HELD] * 3

    assert world.circuit.open_reason == "http_401"
    assert world.dead_letter_topic.published == []
    assert world.states() == [ForwardState.PENDING] * 3


async def test_the_event_that_spoils_a_batch_is_dead_lettered_and_the_rest_delivered(world: WorkerWorld) -> None:
    events = await world.log(8)
    world.forwarder.spoilers = {events[5].event_id}

    assert await fates(world) == [Fate.DONE] * 8

    assert world.row(events[5].event_id).state == ForwardState.DEAD
    assert world.states().count(ForwardState.DELIVERED) == 7
    (letter,) = world.dead_letter_topic.published
    assert letter.data == forward_message.encode(events[5]).data
    assert letter.attributes["event_id"] == events[5].event_id
    assert letter.attributes[PREFIX + "reason"] == "http_400"
    assert letter.attributes[PREFIX + "status"] == "400"


async def test_a_dead_letter_is_published_before_it_is_settled(world: WorkerWorld) -> None:
    await world.log(1)
    world.forwarder.script.append(REJECTED)
    messages = await world.pull()
    world.journal.clear()

    await world.forwarding.forward(messages)

    assert world.journal == ["claim", "send", "publish", "settle_dead"]


async def test_copies_of_a_rejected_event_are_one_dead_letter(world: WorkerWorld) -> None:
    (event,) = await world.log(1)
    await world.publish([event])
    world.forwarder.script.append(REJECTED)

    assert await fates(world) == [Fate.DONE, Fate.DONE]

    assert dead_letter_reasons(world) == ["http_400"]


async def test_when_nearly_everything_is_rejected_nothing_is_dead_lettered(world: WorkerWorld) -> None:
    await world.log(100)
    world.forwarder.always = REJECTED

    assert await fates(world) == [Fate.HELD] * 100

    assert world.circuit.open_reason == DEAD_LETTER_SHARE
    assert world.dead_letter_topic.published == []
    assert world.states() == [ForwardState.PENDING] * 100
    assert {row.claim_token for row in world.store.ledger.values()} == {None}


async def test_undecodable_messages_are_dead_lettered_at_once_with_their_bytes(world: WorkerWorld) -> None:
    await world.topic.publish([OutgoingMessage(b"\xff\x00 not JSON", {"event_id": "theirs", "other": "kept"})])
    await world.topic.publish([OutgoingMessage(b"", {"only": "attributes"})])
    await world.log(1)

    assert await fates(world) == [Fate.DONE] * 3

    assert dead_letter_reasons(world) == ["undecodable", "undecodable"]
    assert [letter.data for letter in world.dead_letter_topic.published] == [b"\xff\x00 not JSON", b""]
    assert world.dead_letter_topic.published[0].attributes["other"] == "kept"
    assert world.states() == [ForwardState.DELIVERED]


async def test_a_message_without_a_row_is_given_some_chances_and_then_dead_lettered(world: WorkerWorld) -> None:
    lost: Event = sample_event()
    await world.publish([lost])

    for _ in range(MISSING_ROW_DELIVERIES - 1):
        messages = await world.pull()
        assert list((await world.forwarding.forward(messages)).values()) == [Fate.LATER]
        await world.subscription.extend([messages[0].ack_id], seconds=0)
        world.clock.advance(600)
    assert world.dead_letter_topic.published == []

    assert await fates(world) == [Fate.DONE]
    assert dead_letter_reasons(world) == ["row_missing"]
    assert world.dead_letter_topic.published[0].data == forward_message.encode(lost).data
    assert world.forwarder.requests == []


async def test_where_deliveries_are_not_counted_a_message_without_a_row_is_dead_lettered_at_once(
    world: WorkerWorld,
) -> None:
    world.subscription.dead_letter_topic = None
    await world.publish([sample_event()])

    assert await fates(world) == [Fate.DONE]

    assert dead_letter_reasons(world) == ["row_missing"]


async def test_two_batches_with_the_same_event_send_it_once(world: WorkerWorld) -> None:
    (event,) = await world.log(1)
    first = await world.pull()
    await world.publish([event])
    second = await world.pull()

    decided = [await world.forwarding.forward(first), await world.forwarding.forward(second)]

    assert [list(each.values()) for each in decided] == [[Fate.DONE], [Fate.DONE]]
    assert world.forwarder.taken[event.event_id] == 1
    entries = await world.ledger.claim([event.event_id], token=ANOTHER, seconds=1)
    assert entries[event.event_id].standing is Standing.DELIVERED
