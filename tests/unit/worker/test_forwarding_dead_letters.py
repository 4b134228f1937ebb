"""Dead letters of a batch: rejected events, undecodable messages, and messages without a ledger row."""

from collections.abc import Iterator

import pytest
import stamina

from shared.events import forward_message
from shared.events.event import Event
from shared.events.forward_ledger import ForwardState
from shared.events.forward_message import OutgoingMessage
from tests.support.fakes.forwarding_batches import dead_letter_reasons, forward_all
from tests.support.fakes.scripted_forwarder import REJECTED
from tests.support.fakes.worker_world import WorkerWorld
from tests.support.sample_events import sample_event
from worker.claiming import MISSING_ROW_DELIVERIES
from worker.dead_letter_publisher import PREFIX
from worker.disposition import Disposition
from worker.poison import ALLOWANCE


@pytest.fixture(autouse=True)
def no_backoff() -> Iterator[None]:
    with stamina.set_testing(True, attempts=1):
        yield


@pytest.fixture
async def world() -> WorkerWorld:
    return WorkerWorld()


async def test_the_event_that_is_rejected_is_dead_lettered_and_the_rest_delivered(world: WorkerWorld) -> None:
    events = await world.log(8)
    world.forwarder.spoilers = {events[5].event_id}

    decided = await forward_all(world)
    assert decided == [Disposition.ACK] * 5 + [Disposition.ACK_DEAD] + [Disposition.ACK] * 2

    row = world.row(events[5].event_id)
    assert (row.state, row.attempts, row.possible_duplicates) == (ForwardState.DEAD, 2, 0)
    assert world.states().count(ForwardState.DELIVERED) == 7
    (letter,) = world.dead_letter_topic.published
    assert letter.data == forward_message.encode(events[5]).data
    assert letter.attributes["event_id"] == events[5].event_id
    assert letter.attributes[PREFIX + "reason"] == "http_400"
    assert letter.attributes[PREFIX + "status"] == "400"


async def test_an_event_is_given_up_before_its_dead_letter_is_published_and_settled_after_it(
    world: WorkerWorld,
) -> None:
    await world.log(1)
    world.forwarder.script.append(REJECTED)
    messages = await world.pull()
    world.journal.clear()

    await world.forwarding.forward(messages)

    assert world.journal == ["claim", "send", "give_up", "publish", "settle_dead"]


async def test_copies_of_a_rejected_event_are_one_dead_letter(world: WorkerWorld) -> None:
    (event,) = await world.log(1)
    await world.publish([event])
    world.forwarder.script.append(REJECTED)

    assert await forward_all(world) == [Disposition.ACK_DEAD] * 2

    assert dead_letter_reasons(world) == ["http_400"]


async def test_when_everything_is_rejected_only_a_few_are_dead_lettered_and_some_step_aside(
    world: WorkerWorld,
) -> None:
    await world.log(100)
    world.forwarder.always = REJECTED

    decided = await forward_all(world)

    assert world.circuit.open_reason == "http_400"
    assert len(world.dead_letters()) == decided.count(Disposition.ACK_DEAD) == ALLOWANCE
    assert decided.count(Disposition.SET_ASIDE) > 0
    assert decided.count(Disposition.HOLD) > 50
    assert world.states().count(ForwardState.PENDING) == 100 - ALLOWANCE
    assert {row.claim_token for row in world.store.ledger.values()} == {None}


async def test_undecodable_messages_are_dead_lettered_at_once_with_their_bytes(world: WorkerWorld) -> None:
    await world.topic.publish([OutgoingMessage(b"\xff\x00 not JSON", {"event_id": "theirs", "other": "kept"})])
    await world.topic.publish([OutgoingMessage(b"", {"only": "attributes"})])
    await world.log(1)

    assert await forward_all(world) == [Disposition.ACK] * 3

    assert dead_letter_reasons(world) == ["undecodable", "undecodable"]
    assert [letter.data for letter in world.dead_letter_topic.published] == [b"\xff\x00 not JSON", b""]
    assert world.dead_letter_topic.published[0].attributes["other"] == "kept"
    assert world.states() == [ForwardState.DELIVERED]


async def test_a_message_without_a_row_is_given_some_chances_and_then_dead_lettered(world: WorkerWorld) -> None:
    lost: Event = sample_event()
    await world.publish([lost])

    for _ in range(MISSING_ROW_DELIVERIES - 1):
        messages = await world.pull()
        assert list((await world.forwarding.forward(messages)).values()) == [Disposition.NACK]
        await world.subscription.extend([messages[0].ack_id], seconds=0)
        world.clock.advance(600)
    assert world.dead_letter_topic.published == []

    assert await forward_all(world) == [Disposition.ACK]
    assert dead_letter_reasons(world) == ["row_missing"]
    assert world.dead_letter_topic.published[0].data == forward_message.encode(lost).data
    assert world.forwarder.requests == []


async def test_where_deliveries_are_not_counted_a_message_without_a_row_is_dead_lettered_at_once(
    world: WorkerWorld,
) -> None:
    world.subscription.dead_letter_topic = None
    await world.publish([sample_event()])

    assert await forward_all(world) == [Disposition.ACK]

    assert dead_letter_reasons(world) == ["row_missing"]
