"""What becomes of a pulled batch where everything but Statsig works: the rows of the design's table."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
import stamina

from shared.events import forward_message
from shared.events.attempt_history import HistoryEntry, HistoryKind, encode
from shared.events.event import Event
from shared.events.forward_ledger import ClaimOutcome, DeliveryRecord, ForwardState
from shared.events.forward_message import OutgoingMessage
from tests.support.fakes.memory_event_log import LedgerRow
from tests.support.fakes.scripted_forwarder import (
    REFUSED,
    REJECTED,
    SERVER_ERROR,
    TIMED_OUT,
    TOO_MANY,
    UNAVAILABLE,
    UNREACHABLE,
)
from tests.support.fakes.worker_world import TickingClock, WorkerWorld
from tests.support.sample_events import sample_event
from worker.dead_letter_publisher import PREFIX
from worker.forwarding import LONGEST_SUSPECT_FACTOR, MISSING_ROW_DELIVERIES, Disposition
from worker.poison import ALLOWANCE, NOTORIOUS_AT
from worker.statsig.outcome import SendOutcome, SendVerdict

ANOTHER = "another-batch"
BACKOFF = 15.0
"""Of WorkerWorld."""


@pytest.fixture(autouse=True)
def no_backoff() -> Iterator[None]:
    with stamina.set_testing(True, attempts=1):
        yield


@pytest.fixture
async def world() -> WorkerWorld:
    return WorkerWorld()


@pytest.fixture
async def ticking() -> WorkerWorld:
    return WorkerWorld(clock=TickingClock())


@pytest.fixture
async def impatient() -> WorkerWorld:
    """No second attempt of what failed while nothing is confirmed."""
    world = WorkerWorld(budget_seconds=0)
    world.random.share = 0.5
    return world


async def dispositions(world: WorkerWorld) -> list[Disposition]:
    """Of whatever can be pulled, in order."""
    messages = await world.pull()
    decided = await world.forwarding.forward(messages)
    assert set(decided) == {message.ack_id for message in messages}
    return [decided[message.ack_id] for message in messages]


async def trial(world: WorkerWorld) -> Disposition:
    """Of the one message that can be pulled."""
    (message,) = await world.pull()
    return (await world.forwarding.try_alone([message]))[message.ack_id]


def first_sent(events: list[Event]) -> Event:
    """Of a batch; the others are confirmed after it."""
    return min(events, key=lambda event: event.event_id)


def dead_letter_reasons(world: WorkerWorld) -> list[str]:
    return [reason for _, reason in world.dead_letters()]


def wait_of(world: WorkerWorld, event_id: str) -> float:
    not_before = world.row(event_id).not_before
    assert not_before is not None
    return (not_before - world.clock.now()) / timedelta(seconds=1)


async def test_confirmed_events_are_settled_as_delivered_and_done(world: WorkerWorld) -> None:
    events = await world.log(3)

    assert await dispositions(world) == [Disposition.ACK] * 3

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


async def test_messages_of_one_event_are_one_event_and_share_its_fate(world: WorkerWorld) -> None:
    (event,) = await world.log(1)
    await world.publish([event, event])

    assert await dispositions(world) == [Disposition.ACK] * 3

    assert world.forwarder.requests == [[event.event_id]]


async def test_what_is_settled_already_is_done_without_sending(world: WorkerWorld) -> None:
    delivered, dead = await world.log(2)
    await world.ledger.settle_delivered(
        [DeliveryRecord(delivered.event_id, 1, 0, world.clock.now(), "http_202", 202, ())]
    )
    await world.ledger.claim([dead.event_id], token=ANOTHER, seconds=60)
    buried = DeliveryRecord(dead.event_id, 1, 0, world.clock.now(), "http_400", 400, ())
    await world.ledger.settle_dead([buried], token=ANOTHER)

    assert await dispositions(world) == [Disposition.ACK, Disposition.ACK]

    assert world.forwarder.requests == []


async def test_what_another_batch_holds_is_left_for_later(world: WorkerWorld) -> None:
    held, free = await world.log(2)
    await world.ledger.claim([held.event_id], token=ANOTHER, seconds=60)

    assert await dispositions(world) == [Disposition.NACK, Disposition.ACK]

    assert world.forwarder.requests == [[free.event_id]]
    assert world.row(held.event_id).claim_token == ANOTHER


async def test_what_another_batch_held_and_died_with_is_sent_and_counted(world: WorkerWorld) -> None:
    (event,) = await world.log(1)
    await world.ledger.claim([event.event_id], token=ANOTHER, seconds=60)
    world.clock.advance(61)

    assert await dispositions(world) == [Disposition.ACK]

    assert world.row(event.event_id).possible_duplicates == 1


async def test_what_may_pass_is_released_for_later_when_the_budget_is_spent(impatient: WorkerWorld) -> None:
    (event,) = await impatient.log(1)
    impatient.forwarder.script.append(UNREACHABLE)

    assert await dispositions(impatient) == [Disposition.HOLD]

    row = impatient.row(event.event_id)
    assert (row.state, row.attempts, row.last_reason) == (ForwardState.PENDING, 1, "connection_refused")
    assert (row.claim_token, row.possible_duplicates, row.not_before) == (None, 0, None)


@pytest.mark.parametrize("answer", [TIMED_OUT, UNAVAILABLE, SERVER_ERROR], ids=lambda answer: answer.reason)
async def test_an_unknown_outcome_is_noted_with_the_release(impatient: WorkerWorld, answer: SendOutcome) -> None:
    (event,) = await impatient.log(1)
    impatient.forwarder.script.append(answer)

    assert await dispositions(impatient) == [Disposition.HOLD]

    row = impatient.row(event.event_id)
    assert (row.claim_token, row.attempts, row.possible_duplicates) == (None, 1, 1)
    assert (row.last_reason, row.last_status) == (answer.reason, answer.status)


async def test_an_outage_holds_messages_and_releases_their_claims(world: WorkerWorld) -> None:
    (event,) = await world.log(1)
    world.forwarder.always = UNAVAILABLE

    assert await dispositions(world) == [Disposition.HOLD]

    row = world.row(event.event_id)
    assert (row.state, row.claim_token, row.not_before, row.alone_failures) == (ForwardState.PENDING, None, None, 0)


@pytest.mark.parametrize("answer", [REFUSED, UNAVAILABLE, TIMED_OUT, UNREACHABLE], ids=lambda answer: answer.reason)
async def test_where_nothing_is_confirmed_everything_is_held_and_nothing_dead_lettered(
    world: WorkerWorld, answer: SendOutcome
) -> None:
    await world.log(30)
    world.forwarder.always = answer

    assert await dispositions(world) == [Disposition.HOLD] * 30

    assert world.circuit.open_reason == answer.reason
    assert world.dead_letters() == []
    assert world.states() == [ForwardState.PENDING] * 30
    assert {row.not_before for row in world.store.ledger.values()} == {None}


async def test_the_event_that_is_rejected_is_dead_lettered_and_the_rest_delivered(world: WorkerWorld) -> None:
    events = await world.log(8)
    world.forwarder.spoilers = {events[5].event_id}

    assert await dispositions(world) == [Disposition.ACK] * 8

    row = world.row(events[5].event_id)
    assert (row.state, row.attempts, row.possible_duplicates) == (ForwardState.DEAD, 2, 0)
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

    assert await dispositions(world) == [Disposition.ACK, Disposition.ACK]

    assert dead_letter_reasons(world) == ["http_400"]


async def test_when_everything_is_rejected_only_a_few_are_dead_lettered_and_some_step_aside(
    world: WorkerWorld,
) -> None:
    await world.log(100)
    world.forwarder.always = REJECTED

    decided = await dispositions(world)

    assert world.circuit.open_reason == "http_400"
    assert len(world.dead_letters()) == decided.count(Disposition.ACK) == ALLOWANCE
    assert decided.count(Disposition.SET_ASIDE) > 0
    assert decided.count(Disposition.HOLD) > 50
    assert world.states().count(ForwardState.PENDING) == 100 - ALLOWANCE
    assert {row.claim_token for row in world.store.ledger.values()} == {None}


@pytest.mark.parametrize(
    "spoiling",
    [SERVER_ERROR, TIMED_OUT, REFUSED, SendOutcome(SendVerdict.AMBIGUOUS, 409, "http_409")],
    ids=lambda answer: answer.reason,
)
async def test_what_fails_alone_while_others_are_confirmed_steps_aside(
    ticking: WorkerWorld, spoiling: SendOutcome
) -> None:
    bad = first_sent(await ticking.log(8)).event_id
    ticking.forwarder.spoilers, ticking.forwarder.spoiling = {bad}, spoiling

    decided = await dispositions(ticking)

    assert sorted(decided) == [Disposition.SET_ASIDE] + [Disposition.ACK] * 7
    row = ticking.row(bad)
    assert (row.state, row.claim_token, row.alone_failures, row.attempts) == (ForwardState.PENDING, None, 1, 2)
    assert row.possible_duplicates == (2 if spoiling.verdict is SendVerdict.AMBIGUOUS else 0)
    assert wait_of(ticking, bad) == pytest.approx(BACKOFF, abs=1)
    assert ticking.dead_letters() == []


async def test_a_limit_that_one_event_draws_blames_nobody(ticking: WorkerWorld) -> None:
    bad = first_sent(await ticking.log(3)).event_id
    limited = SendOutcome(SendVerdict.TRANSIENT, 429, "http_429")
    ticking.forwarder.spoilers, ticking.forwarder.spoiling = {bad}, limited

    assert set(await dispositions(ticking)) <= {Disposition.HOLD, Disposition.SET_ASIDE, Disposition.ACK}

    row = ticking.row(bad)
    assert (row.state, row.alone_failures, row.possible_duplicates) == (ForwardState.PENDING, 0, 0)


async def test_a_suspect_is_not_sent_with_others_neither_in_its_pause_nor_after_it(ticking: WorkerWorld) -> None:
    event = first_sent(await ticking.log(3))
    bad = event.event_id
    ticking.forwarder.spoilers, ticking.forwarder.spoiling = {bad}, SERVER_ERROR
    await dispositions(ticking)
    row = ticking.row(bad)
    noted = (row.attempts, row.possible_duplicates, row.alone_failures)
    ticking.forwarder.requests.clear()
    for seconds in (0.0, BACKOFF + 1):
        ticking.clock.advance(seconds)
        await ticking.publish([event])
        (message,) = (await ticking.pull())[-1:]

        decided = await ticking.forwarding.forward([message])

        assert list(decided.values()) == [Disposition.SET_ASIDE]
        assert (row.claim_token, row.attempts, row.possible_duplicates, row.alone_failures) == (None, *noted)
        assert row.not_before is not None  # to be tried as it was
    assert ticking.forwarder.requests == []


async def test_a_trial_before_its_time_sends_nothing(ticking: WorkerWorld) -> None:
    (event,) = await ticking.log(1)
    row = ticking.row(event.event_id)
    row.not_before, row.alone_failures = ticking.clock.now() + timedelta(seconds=5), 1

    assert await trial(ticking) is Disposition.SET_ASIDE

    assert ticking.forwarder.requests == []


def failed_before(world: WorkerWorld, row: LedgerRow, failures: int) -> None:
    """A suspect whose last attempt was a moment ago."""
    attempt = HistoryEntry(HistoryKind.ATTEMPT, world.clock.now(), "ambiguous", "http_500", 500)
    row.history = encode([attempt])
    row.not_before, row.alone_failures = world.clock.now(), failures
    world.clock.advance(1)


async def test_a_suspect_that_fails_again_waits_twice_as_long_up_to_a_bound(ticking: WorkerWorld) -> None:
    ticking.guilt._suspect_attempts = 100
    (event,) = await ticking.log(1)
    row = ticking.row(event.event_id)
    failed_before(ticking, row, 1)
    ticking.forwarder.always = SERVER_ERROR
    (message,) = await ticking.pull()
    waits = []
    for _ in range(9):
        ticking.circuit.confirmed()

        decided = await ticking.forwarding.try_alone([message])

        assert list(decided.values()) == [Disposition.SET_ASIDE]
        waits.append(round(wait_of(ticking, event.event_id)))
        ticking.clock.advance(waits[-1] + 1)
    assert waits == [BACKOFF * min(2**n, LONGEST_SUSPECT_FACTOR) for n in range(1, 10)]
    assert (row.attempts, row.possible_duplicates, row.alone_failures) == (9, 9, 10)


async def test_a_suspect_that_failed_as_often_as_is_allowed_is_dead_lettered(ticking: WorkerWorld) -> None:
    (event,) = await ticking.log(1)
    row = ticking.row(event.event_id)
    failed_before(ticking, row, 5)
    ticking.forwarder.always = SERVER_ERROR
    ticking.circuit.confirmed()

    assert await trial(ticking) is Disposition.ACK

    assert (row.state, row.last_reason, row.last_status) == (ForwardState.DEAD, "exhausted", 500)
    assert world_letters(ticking) == [(event.event_id, "exhausted", "500")]


def world_letters(world: WorkerWorld) -> list[tuple[str, str, str]]:
    return [
        (letter.attributes["event_id"], letter.attributes[PREFIX + "reason"], letter.attributes[PREFIX + "status"])
        for letter in world.dead_letter_topic.published
    ]


async def test_a_suspect_that_statsig_refuses_is_dead_lettered_with_what_it_said(ticking: WorkerWorld) -> None:
    (event,) = await ticking.log(1)
    row = ticking.row(event.event_id)
    failed_before(ticking, row, 5)
    ticking.forwarder.always = SendOutcome(SendVerdict.REFUSED, 403, "http_403")
    ticking.circuit.confirmed()

    assert await trial(ticking) is Disposition.ACK

    assert (row.state, row.possible_duplicates) == (ForwardState.DEAD, 0)
    assert world_letters(ticking) == [(event.event_id, "http_403", "403")]


async def test_a_trial_that_fails_while_nothing_is_confirmed_leaves_the_suspect_as_it_was(
    ticking: WorkerWorld,
) -> None:
    (event,) = await ticking.log(1)
    row = ticking.row(event.event_id)
    failed_before(ticking, row, 5)
    ticking.forwarder.always = SERVER_ERROR

    assert await trial(ticking) is Disposition.SET_ASIDE

    assert (row.state, row.alone_failures) == (ForwardState.PENDING, 5)
    assert wait_of(ticking, event.event_id) > 0


async def test_a_suspect_that_is_rejected_beside_others_is_dead_lettered_at_once(ticking: WorkerWorld) -> None:
    (event,) = await ticking.log(1)
    row = ticking.row(event.event_id)
    row.not_before = ticking.clock.now()
    ticking.forwarder.always = REJECTED
    ticking.circuit.confirmed()

    assert await trial(ticking) is Disposition.ACK

    assert dead_letter_reasons(ticking) == ["http_400"]


async def test_a_trial_that_is_confirmed_is_delivered(ticking: WorkerWorld) -> None:
    (event,) = await ticking.log(1)
    row = ticking.row(event.event_id)
    failed_before(ticking, row, 5)

    assert await trial(ticking) is Disposition.ACK

    row = ticking.row(event.event_id)
    assert (row.state, row.not_before, row.claim_token) == (ForwardState.DELIVERED, None, None)


async def test_events_whose_name_is_notorious_step_aside_without_being_claimed(world: WorkerWorld) -> None:
    for _ in range(NOTORIOUS_AT):
        world.guilt.failed_alone("bad")
    await world.log(2, "bad")
    (good,) = await world.log(1, "good")
    messages = await world.pull()
    world.journal.clear()

    decided = await world.forwarding.forward(messages)

    assert list(decided.values()).count(Disposition.SET_ASIDE) == 2
    assert world.forwarder.requests == [[good.event_id]]
    assert {row.not_before for row in world.store.ledger.values()} == {None}
    assert world.journal.count("claim") == 1


async def test_a_trial_of_a_notorious_name_is_made_and_its_confirmation_restores_the_name(world: WorkerWorld) -> None:
    for _ in range(NOTORIOUS_AT):
        world.guilt.failed_alone("bad")
    await world.log(1, "bad")

    assert await trial(world) is Disposition.ACK

    assert not world.guilt.is_notorious("bad")


async def test_events_of_one_name_that_keep_failing_alone_make_it_notorious(ticking: WorkerWorld) -> None:
    bad = await ticking.log(NOTORIOUS_AT, "bad")
    ticking.forwarder.on_send = ticking.circuit.confirmed  # in another lane
    ticking.forwarder.spoilers = {event.event_id for event in bad}
    ticking.forwarder.spoiling = SERVER_ERROR
    await dispositions(ticking)
    ticking.forwarder.requests.clear()
    await ticking.log(3, "bad")
    await ticking.log(3, "good")

    decided = await dispositions(ticking)

    assert decided[-6:] == [Disposition.SET_ASIDE] * 3 + [Disposition.ACK] * 3
    assert sum(map(len, ticking.forwarder.requests)) == 3


async def test_an_outage_makes_no_name_notorious(world: WorkerWorld) -> None:
    await world.log(20)
    world.forwarder.always = UNAVAILABLE

    await dispositions(world)

    assert not world.guilt.is_notorious("order_paid")


async def test_a_retry_after_is_waited_for_by_giving_back(world: WorkerWorld) -> None:
    world.budget_seconds = 6
    world.start_process()
    await world.log(2)
    world.forwarder.script.append(TOO_MANY)

    assert await dispositions(world) == [Disposition.HOLD] * 2

    assert {row.claim_token for row in world.store.ledger.values()} == {None}


async def test_undecodable_messages_are_dead_lettered_at_once_with_their_bytes(world: WorkerWorld) -> None:
    await world.topic.publish([OutgoingMessage(b"\xff\x00 not JSON", {"event_id": "theirs", "other": "kept"})])
    await world.topic.publish([OutgoingMessage(b"", {"only": "attributes"})])
    await world.log(1)

    assert await dispositions(world) == [Disposition.ACK] * 3

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

    assert await dispositions(world) == [Disposition.ACK]
    assert dead_letter_reasons(world) == ["row_missing"]
    assert world.dead_letter_topic.published[0].data == forward_message.encode(lost).data
    assert world.forwarder.requests == []


async def test_where_deliveries_are_not_counted_a_message_without_a_row_is_dead_lettered_at_once(
    world: WorkerWorld,
) -> None:
    world.subscription.dead_letter_topic = None
    await world.publish([sample_event()])

    assert await dispositions(world) == [Disposition.ACK]

    assert dead_letter_reasons(world) == ["row_missing"]


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
