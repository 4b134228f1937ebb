"""Settling through a Spanner that fails: tried again, remembered, never in the way of the process's end."""

from collections.abc import Iterator
from dataclasses import replace

import anyio
import pytest
import stamina

from shared.errors import StorageUnavailableError
from shared.events.attempt_history import HistoryKind, decode
from shared.events.forward_ledger import DeliveryRecord, ForwardState
from tests.support.eventually import eventually
from tests.support.fakes.manual_clock import ManualClock
from tests.support.fakes.scripted_failures import When
from tests.support.fakes.worker_world import WorkerWorld
from worker.accounts import untried
from worker.settling import LAST_TRY_SECONDS, Claim

DOWN = StorageUnavailableError("down")
TRIES = 3
HOLDER = "ours"


CLAIM = Claim(HOLDER, ends_at=ManualClock().monotonic() + 60)
ANOTHER_CLAIM = Claim("ours too", ends_at=ManualClock().monotonic() + 90)


@pytest.fixture(autouse=True)
def no_backoff() -> Iterator[None]:
    with stamina.set_testing(True, attempts=TRIES):
        yield


@pytest.fixture
async def world() -> WorkerWorld:
    return WorkerWorld()


async def tried(world: WorkerWorld, count: int = 2) -> list[DeliveryRecord]:
    """Attempts on events that the ledger has as pending and claimed."""
    event_ids = [event.event_id for event in await world.log(count)]
    await world.ledger.claim(event_ids, token=HOLDER, seconds=60)
    return [DeliveryRecord(event_id, 1, 0, world.clock.now(), "http_202", 202, ()) for event_id in event_ids]


def ids(attempts: list[DeliveryRecord]) -> set[str]:
    return {attempt.event_id for attempt in attempts}


async def test_a_confirmation_is_written_and_not_remembered(world: WorkerWorld) -> None:
    attempts = await tried(world)

    assert await world.settling.settle_delivered(attempts, CLAIM)

    assert world.states() == [ForwardState.DELIVERED] * 2
    assert await world.settling.settle_remembered(ids(attempts)) == (set(), ids(attempts))


@pytest.mark.parametrize("when", When)
async def test_a_settlement_that_fails_is_tried_again(world: WorkerWorld, when: When) -> None:
    attempts = await tried(world)
    world.ledger.failures.fail_next("settle_delivered", DOWN, times=TRIES - 1, when=when)

    assert await world.settling.settle_delivered(attempts, CLAIM)

    assert world.states() == [ForwardState.DELIVERED] * 2
    assert world.ledger.failures.count("settle_delivered") == TRIES


async def test_a_confirmation_that_cannot_be_written_is_remembered_until_it_can(world: WorkerWorld) -> None:
    attempts = await tried(world)
    world.ledger.failures.fail_until_mended("settle_delivered", DOWN)
    assert not await world.settling.settle_delivered(attempts, CLAIM)
    assert await world.settling.settle_remembered([*ids(attempts), "other"]) == (set(), {"other"})

    world.ledger.failures.mend()

    assert await world.settling.settle_remembered([*ids(attempts), "other"]) == (ids(attempts), {"other"})
    assert world.states() == [ForwardState.DELIVERED] * 2
    assert await world.settling.settle_remembered(ids(attempts)) == (set(), ids(attempts))


async def test_a_cancelled_settlement_is_remembered(world: WorkerWorld) -> None:
    attempts = await tried(world)
    world.ledger.failures.hold("settle_delivered")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(world.settling.settle_delivered, attempts, CLAIM)
        await eventually(lambda: world.ledger.failures.waiting("settle_delivered"))
        tasks.cancel_scope.cancel()
    world.ledger.failures.mend()

    assert await world.settling.settle_remembered(ids(attempts)) == (ids(attempts), set())


async def test_no_more_is_remembered_than_fits(world: WorkerWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.settling.MAX_REMEMBERED", 2)  # each is one, with nothing in its history
    first, second = await tried(world, 2), await tried(world, 1)
    world.ledger.failures.fail_until_mended("settle_delivered", DOWN)

    await world.settling.settle_delivered(first, CLAIM)
    await world.settling.settle_delivered(second, CLAIM)
    world.ledger.failures.mend()

    assert await world.settling.settle_remembered(ids(first) | ids(second)) == (ids(first), ids(second))


async def test_what_is_forgotten_makes_room(world: WorkerWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.settling.MAX_REMEMBERED", 2)
    first, second = await tried(world, 2), await tried(world, 2)
    world.ledger.failures.fail_until_mended("release", DOWN)
    for _ in range(3):  # and what is remembered again is not counted again
        await world.settling.release(first, CLAIM)
    assert world.settling.known(ids(first)).keys() == ids(first)
    world.settling.forget([*ids(first), "unknown"])

    await world.settling.release(second, CLAIM)

    assert world.settling.known(ids(first) | ids(second)).keys() == ids(second)


async def test_at_the_end_there_is_one_try(world: WorkerWorld) -> None:
    attempts = await tried(world)
    world.ledger.failures.fail_next("settle_delivered", DOWN)

    await world.settling.settle_at_the_end(attempts, CLAIM)

    assert world.ledger.failures.count("settle_delivered") == 1
    assert world.states() == [ForwardState.PENDING] * 2
    assert await world.settling.settle_remembered(ids(attempts)) == (ids(attempts), set())


async def test_what_is_settled_at_the_end_is_forgotten(world: WorkerWorld) -> None:
    attempts = await tried(world)
    world.ledger.failures.fail_next("settle_delivered", DOWN, times=TRIES)
    await world.settling.settle_delivered(attempts, CLAIM)

    await world.settling.settle_at_the_end(attempts, CLAIM)

    assert world.states() == [ForwardState.DELIVERED] * 2
    assert await world.settling.settle_remembered(ids(attempts)) == (set(), ids(attempts))


@pytest.mark.parametrize("call", ["settle_delivered", "release"])
async def test_a_silent_ledger_is_asked_to_answer_soon_at_the_end(
    world: WorkerWorld, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """The ledger bounds its own calls: cutting one off from outside would leave nobody knowing what it did."""
    attempts = await tried(world)
    real, asked = getattr(world.ledger, call), []

    async def bounded(*args: object, within_seconds: float | None = None, **kwargs: object) -> None:
        asked.append(within_seconds)
        await real(*args, within_seconds=within_seconds, **kwargs)

    monkeypatch.setattr(world.ledger, call, bounded)

    if call == "release":
        await world.settling.release(attempts, CLAIM)
    else:
        await world.settling.settle_at_the_end(attempts, CLAIM)

    assert asked == [LAST_TRY_SECONDS]


async def test_a_release_is_written_and_not_remembered(world: WorkerWorld) -> None:
    attempts = await tried(world)

    await world.settling.release(attempts, CLAIM)

    assert [world.row(event_id).claim_token for event_id in ids(attempts)] == [None, None]
    assert world.settling.known(ids(attempts)) == {}


async def test_a_release_that_fails_is_no_error_and_is_remembered_with_what_was_tried(world: WorkerWorld) -> None:
    (attempt,) = await tried(world, 1)
    world.ledger.failures.fail_next("release", DOWN)

    await world.settling.release([attempt], CLAIM)

    assert world.row(attempt.event_id).claim_token == HOLDER
    known = world.settling.known([attempt.event_id, "other"])
    assert {event_id: (k.attempt, k.state, k.tokens) for event_id, k in known.items()} == {
        attempt.event_id: (attempt, ForwardState.PENDING, frozenset({HOLDER}))
    }


async def test_of_a_release_that_fails_and_where_nothing_was_sent_only_the_claim_is_remembered(
    world: WorkerWorld,
) -> None:
    (attempt,) = await tried(world, 1)
    world.ledger.failures.fail_next("release", DOWN)

    await world.settling.release(untried([attempt.event_id]), CLAIM)

    (known,) = world.settling.known([attempt.event_id]).values()
    assert (known.attempt, known.tokens) == (None, frozenset({HOLDER}))


async def test_what_is_remembered_but_not_as_confirmed_is_not_settled_as_delivered(world: WorkerWorld) -> None:
    attempts = await tried(world)
    world.ledger.failures.fail_next("release", DOWN)
    await world.settling.release(attempts, CLAIM)

    assert await world.settling.settle_remembered(ids(attempts)) == (set(), ids(attempts))

    assert world.states() == [ForwardState.PENDING] * 2


async def test_a_claim_that_may_stand_and_with_which_nothing_was_sent_is_released(world: WorkerWorld) -> None:
    (event,) = await world.log(1)
    await world.ledger.claim([event.event_id], token=HOLDER, seconds=60)

    await world.settling.give_up_claim([event.event_id], CLAIM)

    assert world.row(event.event_id).claim_token is None
    assert world.settling.known([event.event_id]) == {}


async def test_a_claim_that_may_stand_is_one_more_by_which_what_is_known_can_be_resumed(world: WorkerWorld) -> None:
    (attempt,) = await tried(world, 1)
    world.ledger.failures.fail_next("release", DOWN)
    await world.settling.release([attempt], CLAIM)

    await world.settling.give_up_claim([attempt.event_id], ANOTHER_CLAIM)

    (known,) = world.settling.known([attempt.event_id]).values()
    assert (known.attempt, known.tokens) == (attempt, frozenset({HOLDER, ANOTHER_CLAIM.token}))


async def test_claims_that_may_stand_without_anything_sent_are_all_remembered(world: WorkerWorld) -> None:
    (attempt,) = await tried(world, 1)
    world.ledger.failures.fail_until_mended("release", DOWN)
    await world.settling.release(untried([attempt.event_id]), CLAIM)

    await world.settling.give_up_claim([attempt.event_id], ANOTHER_CLAIM)

    (known,) = world.settling.known([attempt.event_id]).values()
    assert known.tokens == {HOLDER, ANOTHER_CLAIM.token}


async def test_a_burial_that_fails_is_tried_again(world: WorkerWorld) -> None:
    attempts = await tried(world)
    world.ledger.failures.fail_next("settle_dead", DOWN, times=TRIES - 1)

    assert await world.settling.settle_dead(attempts, CLAIM) == ids(attempts)

    assert world.states() == [ForwardState.DEAD] * 2
    assert world.settling.known(ids(attempts)) == {}


async def test_a_burial_that_cannot_be_written_is_remembered(world: WorkerWorld) -> None:
    attempts = await tried(world)
    world.ledger.failures.fail_next("settle_dead", DOWN, times=TRIES)

    assert await world.settling.settle_dead(attempts, CLAIM) == set()

    assert world.states() == [ForwardState.PENDING] * 2
    known = world.settling.known(ids(attempts))
    assert {event_id: (each.attempt, each.state) for event_id, each in known.items()} == {
        attempt.event_id: (attempt, ForwardState.DEAD) for attempt in attempts
    }


async def test_a_burial_tells_which_were_written(world: WorkerWorld) -> None:
    attempts = await tried(world)
    world.clock.advance(61)
    await world.ledger.claim([attempts[0].event_id], token=HOLDER, seconds=60)

    written = await world.settling.settle_dead(attempts, replace(CLAIM, ends_at=world.clock.monotonic() + 60))

    assert written == {attempts[0].event_id}


async def test_what_is_noted_stays_claimed(world: WorkerWorld) -> None:
    attempts = [replace(attempt, possible_duplicates=1) for attempt in await tried(world)]

    assert await world.settling.note(attempts, CLAIM) == ids(attempts)

    rows = [world.row(event_id) for event_id in ids(attempts)]
    assert [(row.claim_token, row.possible_duplicates) for row in rows] == [(HOLDER, 1)] * 2


async def test_where_noting_fails_nothing_may_be_sent_again(world: WorkerWorld) -> None:
    attempts = await tried(world)
    world.ledger.failures.fail_next("note", DOWN)

    assert await world.settling.note(attempts, CLAIM) == set()

    assert world.ledger.failures.count("note") == 1


async def test_nothing_to_settle_asks_spanner_nothing(world: WorkerWorld) -> None:
    assert await world.settling.settle_delivered([], CLAIM)
    assert await world.settling.settle_dead([], CLAIM) == set()
    await world.settling.settle_at_the_end([], CLAIM)
    await world.settling.release([], CLAIM)
    await world.settling.give_up_claim([], CLAIM)

    assert world.journal == []


async def test_a_late_confirmation_leaves_the_account_of_whoever_took_over_alone(world: WorkerWorld) -> None:
    (first,) = await tried(world, 1)
    world.ledger.failures.fail_until_mended("settle_delivered", DOWN)
    assert not await world.settling.settle_delivered([first], CLAIM)
    world.ledger.failures.mend()
    world.clock.advance(61)
    (taken,) = (await world.ledger.claim([first.event_id], token="another's", seconds=60)).values()
    second = DeliveryRecord(
        first.event_id, 1, taken.possible_duplicates, world.clock.now(), "http_202", 202, taken.history
    )
    await world.ledger.settle_delivered([second], token="another's", seconds_left=60)

    assert await world.settling.settle_remembered([first.event_id]) == ({first.event_id}, set())

    row = world.row(first.event_id)
    assert (row.state, row.attempts, row.possible_duplicates) == (ForwardState.DELIVERED, 1, 1)
    assert [entry.kind for entry in decode(row.history)] == [HistoryKind.TAKE_OVER]
