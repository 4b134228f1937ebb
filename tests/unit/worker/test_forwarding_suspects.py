"""Events that fail alone are set aside, tried alone with growing waits, and in the end dead-lettered."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
import stamina

from shared.events.attempt_history import HistoryEntry, HistoryKind, encode
from shared.events.event import Event
from shared.events.forward_ledger import ForwardState
from tests.support.fakes.forwarding_batches import dead_letter_reasons, forward_all, trial, tried_alone
from tests.support.fakes.memory_event_log import LedgerRow
from tests.support.fakes.scripted_forwarder import REFUSED, REJECTED, SERVER_ERROR, TIMED_OUT
from tests.support.fakes.worker_world import TickingClock, WorkerWorld
from worker.dead_letter_publisher import PREFIX
from worker.disposition import Disposition
from worker.statsig.outcome import SendOutcome, SendVerdict
from worker.unconfirmed import MAX_BACKOFF_FACTOR

BACKOFF = 15.0
"""WorkerWorld's default `suspect_backoff_seconds`."""


@pytest.fixture(autouse=True)
def no_backoff() -> Iterator[None]:
    with stamina.set_testing(True, attempts=1):
        yield


@pytest.fixture
async def ticking() -> WorkerWorld:
    return WorkerWorld(clock=TickingClock())


def first_sent(events: list[Event]) -> Event:
    """The event of a batch that is sent first; the others are confirmed after it."""
    return min(events, key=lambda event: event.event_id)


def wait_of(world: WorkerWorld, event_id: str) -> float:
    not_before = world.row(event_id).not_before
    assert not_before is not None
    return (not_before - world.clock.now()) / timedelta(seconds=1)


def failed_before(world: WorkerWorld, row: LedgerRow, failures: int) -> None:
    """Make the row a suspect's, whose last attempt failed a second ago."""
    attempt = HistoryEntry(HistoryKind.ATTEMPT, world.clock.now(), "ambiguous", "http_500", 500)
    row.history = encode([attempt])
    row.not_before, row.alone_failures = world.clock.now(), failures
    world.clock.advance(1)


def letters_with_status(world: WorkerWorld) -> list[tuple[str, str, str]]:
    return [
        (letter.attributes["event_id"], letter.attributes[PREFIX + "reason"], letter.attributes[PREFIX + "status"])
        for letter in world.dead_letter_topic.published
    ]


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

    decided = await forward_all(ticking)

    assert sorted(decided) == [Disposition.ACK] * 7 + [Disposition.SET_ASIDE]
    row = ticking.row(bad)
    assert (row.state, row.claim_token, row.alone_failures, row.attempts) == (ForwardState.PENDING, None, 1, 2)
    assert row.possible_duplicates == (2 if spoiling.verdict is SendVerdict.AMBIGUOUS else 0)
    assert wait_of(ticking, bad) == pytest.approx(BACKOFF, abs=1)
    assert ticking.dead_letters() == []


async def test_a_limit_that_one_event_draws_blames_nobody(ticking: WorkerWorld) -> None:
    bad = first_sent(await ticking.log(3)).event_id
    limited = SendOutcome(SendVerdict.TRANSIENT, 429, "http_429")
    ticking.forwarder.spoilers, ticking.forwarder.spoiling = {bad}, limited

    assert set(await forward_all(ticking)) <= {Disposition.HOLD, Disposition.SET_ASIDE, Disposition.ACK}

    row = ticking.row(bad)
    assert (row.state, row.alone_failures, row.possible_duplicates) == (ForwardState.PENDING, 0, 0)


async def test_a_suspect_is_not_sent_with_others_neither_in_its_pause_nor_after_it(ticking: WorkerWorld) -> None:
    event = first_sent(await ticking.log(3))
    bad = event.event_id
    ticking.forwarder.spoilers, ticking.forwarder.spoiling = {bad}, SERVER_ERROR
    await forward_all(ticking)
    row = ticking.row(bad)
    noted = (row.attempts, row.possible_duplicates, row.alone_failures)
    ticking.forwarder.requests.clear()
    for seconds, disposition in ((0.0, Disposition.SET_ASIDE_WAITING), (BACKOFF + 1, Disposition.SET_ASIDE)):
        ticking.clock.advance(seconds)
        await ticking.publish([event])
        (message,) = (await ticking.pull())[-1:]

        decided = await ticking.forwarding.forward([message])

        assert list(decided.values()) == [disposition]
        assert (row.claim_token, row.attempts, row.possible_duplicates, row.alone_failures) == (None, *noted)
        assert row.not_before is not None  # still a suspect
    assert ticking.forwarder.requests == []


async def test_a_trial_before_its_time_sends_nothing(ticking: WorkerWorld) -> None:
    (event,) = await ticking.log(1)
    row = ticking.row(event.event_id)
    row.not_before, row.alone_failures = ticking.clock.now() + timedelta(seconds=5), 1

    assert await trial(ticking) is Disposition.SET_ASIDE_WAITING

    assert ticking.forwarder.requests == []


async def test_a_suspect_that_fails_again_waits_twice_as_long_up_to_a_bound(ticking: WorkerWorld) -> None:
    ticking.poison._suspect_attempts = 100
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
    assert waits == [BACKOFF * min(2**n, MAX_BACKOFF_FACTOR) for n in range(1, 10)]
    assert (row.attempts, row.possible_duplicates, row.alone_failures) == (9, 9, 10)


async def test_a_suspect_that_failed_as_often_as_is_allowed_is_dead_lettered(ticking: WorkerWorld) -> None:
    (event,) = await ticking.log(1)
    row = ticking.row(event.event_id)
    failed_before(ticking, row, 5)
    ticking.forwarder.always = SERVER_ERROR
    ticking.circuit.confirmed()

    assert await trial(ticking) is Disposition.ACK_DEAD

    assert (row.state, row.last_reason, row.last_status) == (ForwardState.DEAD, "exhausted", 500)
    assert letters_with_status(ticking) == [(event.event_id, "exhausted", "500")]


async def test_where_a_confirmed_event_had_failed_alone_as_well_a_suspect_has_that_many_trials_more(
    ticking: WorkerWorld,
) -> None:
    (lucky,) = await ticking.log(1)
    failed_before(ticking, ticking.row(lucky.event_id), 1)
    assert await trial(ticking) is Disposition.ACK

    (event,) = await ticking.log(1)
    failed_before(ticking, ticking.row(event.event_id), 5)
    ticking.forwarder.always = SERVER_ERROR
    ticking.circuit.confirmed()
    (message,) = await ticking.pull()
    assert await tried_alone(ticking, message) is Disposition.SET_ASIDE
    assert ticking.dead_letters() == []

    ticking.clock.advance(wait_of(ticking, event.event_id) + 1)
    ticking.circuit.confirmed()
    assert await tried_alone(ticking, message) is Disposition.ACK_DEAD
    assert dead_letter_reasons(ticking) == ["exhausted"]


async def test_a_suspect_that_statsig_refuses_is_dead_lettered_with_what_it_said(ticking: WorkerWorld) -> None:
    (event,) = await ticking.log(1)
    row = ticking.row(event.event_id)
    failed_before(ticking, row, 5)
    ticking.forwarder.always = SendOutcome(SendVerdict.REFUSED, 403, "http_403")
    ticking.circuit.confirmed()

    assert await trial(ticking) is Disposition.ACK_DEAD

    assert (row.state, row.possible_duplicates) == (ForwardState.DEAD, 0)
    assert letters_with_status(ticking) == [(event.event_id, "http_403", "403")]


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

    assert await trial(ticking) is Disposition.ACK_DEAD

    assert dead_letter_reasons(ticking) == ["http_400"]


async def test_a_trial_that_is_confirmed_is_delivered(ticking: WorkerWorld) -> None:
    (event,) = await ticking.log(1)
    row = ticking.row(event.event_id)
    failed_before(ticking, row, 5)

    assert await trial(ticking) is Disposition.ACK

    row = ticking.row(event.event_id)
    assert (row.state, row.not_before, row.claim_token) == (ForwardState.DELIVERED, None, None)
