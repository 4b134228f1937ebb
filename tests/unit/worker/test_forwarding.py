"""Forwarding a batch: each message's disposition and its event's ledger row, while Spanner and Pub/Sub work."""

from collections.abc import Iterator

import pytest
import stamina

from shared.events.forward_ledger import ClaimOutcome, DeliveryRecord, ForwardState
from tests.support.fakes.forwarding_batches import forward_all
from tests.support.fakes.scripted_forwarder import REFUSED, SERVER_ERROR, TIMED_OUT, TOO_MANY, UNAVAILABLE, UNREACHABLE
from tests.support.fakes.worker_world import WorkerWorld
from worker.disposition import Disposition
from worker.statsig.outcome import SendOutcome

ANOTHER = "another-batch"


@pytest.fixture(autouse=True)
def no_backoff() -> Iterator[None]:
    with stamina.set_testing(True, attempts=1):
        yield


@pytest.fixture
async def world() -> WorkerWorld:
    return WorkerWorld()


@pytest.fixture
async def impatient() -> WorkerWorld:
    """Its budget allows no retry while nothing is confirmed."""
    world = WorkerWorld(budget_seconds=0)
    world.random.share = 0.5
    return world


async def test_confirmed_events_are_settled_as_delivered_and_done(world: WorkerWorld) -> None:
    events = await world.log(3)

    assert await forward_all(world) == [Disposition.ACK] * 3

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


async def test_what_was_sent_is_noted_before_it_is_sent_again(world: WorkerWorld) -> None:
    (event,) = await world.log(1)
    world.forwarder.script.append(TIMED_OUT)
    noted: list[int] = []
    world.forwarder.on_send = lambda: noted.append(world.row(event.event_id).possible_duplicates)
    messages = await world.pull()
    world.journal.clear()

    await world.forwarding.forward(messages)

    assert world.journal == ["claim", "send", "note", "send", "settle_delivered"]
    assert noted == [0, 1]
    assert world.row(event.event_id).possible_duplicates == 1


async def test_what_is_confirmed_is_settled_before_the_next_request(world: WorkerWorld) -> None:
    await world.log(3)
    world.size.events = 1
    messages = await world.pull()
    world.journal.clear()

    await world.forwarding.forward(messages)

    assert len(world.forwarder.requests) > 1
    assert world.journal == ["claim", *["send", "settle_delivered"] * len(world.forwarder.requests)]


async def test_an_empty_batch_asks_nobody_anything(world: WorkerWorld) -> None:
    assert await world.forwarding.forward([]) == {}
    assert world.journal == []


async def test_messages_of_one_event_are_one_event_and_share_its_disposition(world: WorkerWorld) -> None:
    (event,) = await world.log(1)
    await world.publish([event, event])

    assert await forward_all(world) == [Disposition.ACK] * 3

    assert world.forwarder.requests == [[event.event_id]]


async def test_two_batches_with_the_same_event_send_it_once(world: WorkerWorld) -> None:
    (event,) = await world.log(1)
    first = await world.pull()
    await world.publish([event])
    second = await world.pull()

    decided = [await world.forwarding.forward(first), await world.forwarding.forward(second)]

    assert [list(each.values()) for each in decided] == [[Disposition.ACK], [Disposition.ACK]]
    assert world.forwarder.taken[event.event_id] == 1
    entries = await world.ledger.claim([event.event_id], token=ANOTHER, seconds=1)
    assert entries[event.event_id].outcome is ClaimOutcome.DELIVERED


async def test_what_is_settled_already_is_done_without_sending(world: WorkerWorld) -> None:
    delivered, dead = await world.log(2)
    await world.ledger.settle_delivered(
        [DeliveryRecord(delivered.event_id, 1, 0, world.clock.now(), "http_202", 202, ())]
    )
    await world.ledger.claim([dead.event_id], token=ANOTHER, seconds=60)
    dead_lettered = DeliveryRecord(dead.event_id, 1, 0, world.clock.now(), "http_400", 400, ())
    await world.ledger.settle_dead([dead_lettered], token=ANOTHER)

    assert await forward_all(world) == [Disposition.ACK, Disposition.ACK]

    assert world.forwarder.requests == []


async def test_what_another_batch_holds_is_left_for_later(world: WorkerWorld) -> None:
    held, free = await world.log(2)
    await world.ledger.claim([held.event_id], token=ANOTHER, seconds=60)

    assert await forward_all(world) == [Disposition.NACK, Disposition.ACK]

    assert world.forwarder.requests == [[free.event_id]]
    assert world.row(held.event_id).claim_token == ANOTHER


async def test_what_another_batch_held_and_died_with_is_sent_and_counted(world: WorkerWorld) -> None:
    (event,) = await world.log(1)
    await world.ledger.claim([event.event_id], token=ANOTHER, seconds=60)
    world.clock.advance(61)

    assert await forward_all(world) == [Disposition.ACK]

    assert world.row(event.event_id).possible_duplicates == 1


async def test_what_may_pass_is_released_for_later_when_the_budget_is_spent(impatient: WorkerWorld) -> None:
    (event,) = await impatient.log(1)
    impatient.forwarder.script.append(UNREACHABLE)

    assert await forward_all(impatient) == [Disposition.HOLD]

    row = impatient.row(event.event_id)
    assert (row.state, row.attempts, row.last_reason) == (ForwardState.PENDING, 1, "connection_refused")
    assert (row.claim_token, row.possible_duplicates, row.not_before) == (None, 0, None)


@pytest.mark.parametrize("answer", [TIMED_OUT, UNAVAILABLE, SERVER_ERROR], ids=lambda answer: answer.reason)
async def test_an_unknown_outcome_is_noted_with_the_release(impatient: WorkerWorld, answer: SendOutcome) -> None:
    (event,) = await impatient.log(1)
    impatient.forwarder.script.append(answer)

    assert await forward_all(impatient) == [Disposition.HOLD]

    row = impatient.row(event.event_id)
    assert (row.claim_token, row.attempts, row.possible_duplicates) == (None, 1, 1)
    assert (row.last_reason, row.last_status) == (answer.reason, answer.status)


async def test_an_outage_holds_messages_and_releases_their_claims(world: WorkerWorld) -> None:
    (event,) = await world.log(1)
    world.forwarder.always = UNAVAILABLE

    assert await forward_all(world) == [Disposition.HOLD]

    row = world.row(event.event_id)
    assert (row.state, row.claim_token, row.not_before, row.alone_failures) == (ForwardState.PENDING, None, None, 0)


@pytest.mark.parametrize("answer", [REFUSED, UNAVAILABLE, TIMED_OUT, UNREACHABLE], ids=lambda answer: answer.reason)
async def test_where_nothing_is_confirmed_everything_is_held_and_nothing_dead_lettered(
    world: WorkerWorld, answer: SendOutcome
) -> None:
    await world.log(30)
    world.forwarder.always = answer

    assert await forward_all(world) == [Disposition.HOLD] * 30

    assert world.circuit.open_reason == answer.reason
    assert world.dead_letters() == []
    assert world.states() == [ForwardState.PENDING] * 30
    assert {row.not_before for row in world.store.ledger.values()} == {None}


async def test_a_retry_after_beyond_the_budget_holds_messages_and_releases_their_claims(world: WorkerWorld) -> None:
    world.budget_seconds = 6
    world.start_process()
    await world.log(2)
    world.forwarder.script.append(TOO_MANY)

    assert await forward_all(world) == [Disposition.HOLD] * 2

    assert {row.claim_token for row in world.store.ledger.values()} == {None}
