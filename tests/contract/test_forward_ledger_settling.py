"""What every ForwardLedger does when a claim ends: settled as delivered, settled as dead, or released."""

from dataclasses import replace

import pytest

from shared.events.forward_ledger import ClaimOutcome, ClaimResult, DeliveryRecord, ForwardState
from tests.support.emulators.claiming import (
    AT,
    CONFIRMED,
    FAILED,
    LONG,
    SHORT,
    attempt,
    logged,
    row_of,
    token,
)
from tests.support.emulators.storages import Storage


@pytest.mark.parametrize("ending", ["settle_delivered", "settle_dead", "release"])
async def test_what_ends_a_claim_keeps_the_history_and_the_next_claim_finds_it(storage: Storage, ending: str) -> None:
    (event_id,), ours = await logged(storage), token()
    await storage.ledger.claim([event_id], token=ours, seconds=LONG)
    noted = attempt(event_id, 2, history=(FAILED, CONFIRMED))

    if ending == "settle_delivered":
        await storage.ledger.settle_delivered([noted])
    elif ending == "settle_dead":
        await storage.ledger.settle_dead([noted], token=ours)
    else:
        await storage.ledger.release([noted], token=ours)

    assert (await storage.ledger.claim([event_id], token=token(), seconds=LONG))[event_id].history == (
        FAILED,
        CONFIRMED,
    )


async def test_a_release_without_an_attempt_leaves_the_history_alone(storage: Storage) -> None:
    (event_id,), first, second = await logged(storage), token(), token()
    await storage.ledger.claim([event_id], token=first, seconds=LONG)
    await storage.ledger.release([attempt(event_id, history=(FAILED,))], token=first)
    await storage.ledger.claim([event_id], token=second, seconds=LONG)

    await storage.ledger.release([DeliveryRecord(event_id, 1, 0, None, "not_sent", None, ())], token=second)

    assert (await storage.ledger.claim([event_id], token=token(), seconds=LONG))[event_id].history == (FAILED,)


async def test_a_released_claim_is_taken_over_without_a_possible_duplicate(storage: Storage) -> None:
    (event_id,), ours = await logged(storage), token()
    await storage.ledger.claim([event_id], token=ours, seconds=LONG)

    await storage.ledger.release([DeliveryRecord(event_id, 2, 1, AT, "http_503", 503, ())], token=ours)

    entry = (await storage.ledger.claim([event_id], token=token(), seconds=LONG))[event_id]
    assert entry == ClaimResult(event_id, ClaimOutcome.CLAIMED, attempts=2, possible_duplicates=1)
    row = await row_of(storage, event_id)
    assert (row.last_attempt_at, row.last_reason, row.last_status) == (AT, "http_503", 503)
    assert row.state == ForwardState.PENDING


async def test_a_release_without_an_attempt_keeps_what_was_noted_of_the_last(storage: Storage) -> None:
    tried, untried = await logged(storage, 2)
    ours = token()
    await storage.ledger.claim([tried, untried], token=ours, seconds=LONG)
    await storage.ledger.release([attempt(tried, 4, "http_503", 503), attempt(untried, 4, "dns", None)], token=ours)
    await storage.ledger.claim([tried, untried], token=ours, seconds=LONG)
    again = attempt(tried, 5, "timeout", None)
    never = DeliveryRecord(untried, 4, 0, None, "not_sent", None, ())

    await storage.ledger.release([again, never], token=ours)

    row = await row_of(storage, untried)
    assert (row.attempts, row.last_attempt_at, row.last_reason) == (4, AT, "dns")
    assert (row.claim_token, row.claimed_until) == (None, None)
    row = await row_of(storage, tried)
    assert (row.attempts, row.last_reason, row.last_status) == (5, "timeout", None)
    assert (row.claim_token, row.claimed_until) == (None, None)


async def test_who_does_not_hold_the_claim_can_neither_release_nor_settle_as_dead(storage: Storage) -> None:
    mine, unclaimed, settled = await logged(storage, 3)
    holder, stranger = token(), token()
    await storage.ledger.claim([mine], token=holder, seconds=LONG)
    await storage.ledger.settle_delivered([attempt(settled)])
    before = [await row_of(storage, event_id) for event_id in (mine, unclaimed, settled)]
    theirs = [attempt(event_id, 9, "http_400", 400) for event_id in (mine, unclaimed, settled)]

    await storage.ledger.settle_dead(theirs, token=stranger)
    await storage.ledger.release(theirs, token=stranger)
    await storage.ledger.release([replace(each, last_attempt_at=None) for each in theirs], token=stranger)

    assert [await row_of(storage, event_id) for event_id in (mine, unclaimed, settled)] == before


async def test_the_holder_settles_as_dead(storage: Storage) -> None:
    (event_id,), ours = await logged(storage), token()
    await storage.ledger.claim([event_id], token=ours, seconds=LONG)

    await storage.ledger.settle_dead([attempt(event_id, 2, "http_422", 422)], token=ours)

    row = await row_of(storage, event_id)
    assert (row.state, row.attempts, row.last_reason, row.last_status) == (ForwardState.DEAD, 2, "http_422", 422)
    assert (row.pending_since, row.claim_token, row.claimed_until) == (None, None, None)
    assert row.settled_at is not None


async def test_a_claim_that_has_expired_settles_nothing_as_dead(storage: Storage) -> None:
    (event_id,), ours = await logged(storage), token()
    await storage.ledger.claim([event_id], token=ours, seconds=SHORT)
    await storage.time_passes(SHORT + 0.05)

    await storage.ledger.settle_dead([attempt(event_id, 2, "http_422", 422)], token=ours)

    assert (await row_of(storage, event_id)).state == ForwardState.PENDING


@pytest.mark.parametrize("claimed_by", ["nobody", "us", "another"])
async def test_a_delivery_is_settled_whoever_holds_the_claim(storage: Storage, claimed_by: str) -> None:
    (event_id,) = await logged(storage)
    if claimed_by != "nobody":
        await storage.ledger.claim([event_id], token=claimed_by, seconds=LONG)
    before = await storage.now()

    await storage.ledger.settle_delivered([DeliveryRecord(event_id, 3, 1, AT, "http_202", 202, ())])

    row = await row_of(storage, event_id)
    assert row.state == ForwardState.DELIVERED
    assert (row.attempts, row.possible_duplicates, row.last_attempt_at) == (3, 1, AT)
    assert (row.last_reason, row.last_status) == ("http_202", 202)
    assert (row.pending_since, row.claim_token, row.claimed_until) == (None, None, None)
    assert row.settled_at is not None
    assert before <= row.settled_at <= await storage.now()


async def test_settling_a_delivery_twice_changes_nothing_but_its_time(storage: Storage) -> None:
    (event_id,) = await logged(storage)
    await storage.ledger.settle_delivered([attempt(event_id)])
    once = await row_of(storage, event_id)

    await storage.ledger.settle_delivered([attempt(event_id)])

    twice = await row_of(storage, event_id)
    assert replace(twice, settled_at=None) == replace(once, settled_at=None)


async def test_a_deleted_event_does_not_spoil_its_neighbours(storage: Storage) -> None:
    deleted, first, second = await logged(storage, 3)
    ours = token()
    await storage.ledger.claim([deleted, first, second], token=ours, seconds=LONG)
    await storage.delete(deleted)

    await storage.ledger.settle_delivered([attempt(deleted), attempt(first)])
    await storage.ledger.settle_dead([attempt(deleted), attempt(second)], token=ours)
    await storage.ledger.release([attempt(deleted)], token=ours)

    assert (await row_of(storage, first)).state == ForwardState.DELIVERED
    assert (await row_of(storage, second)).state == ForwardState.DEAD
    assert await storage.ledger_row(deleted) is None


async def test_settling_and_releasing_nothing_is_no_error(storage: Storage) -> None:
    await storage.ledger.settle_delivered([])
    await storage.ledger.settle_dead([], token=token())
    await storage.ledger.release([], token=token())


async def taken_over(storage: Storage) -> tuple[str, str, str]:
    """An event whose first claim expired and whose second one lasts: the id and both tokens."""
    (event_id,), first, second = await logged(storage), token(), token()
    await storage.ledger.claim([event_id], token=first, seconds=SHORT)
    await storage.time_passes(SHORT + 0.05)
    await storage.ledger.claim([event_id], token=second, seconds=LONG)
    return event_id, first, second


async def test_a_delivery_settled_after_a_take_over_leaves_the_account_to_the_new_holder(storage: Storage) -> None:
    event_id, first, second = await taken_over(storage)

    await storage.ledger.settle_delivered([attempt(event_id)], token=first)

    row = await row_of(storage, event_id)
    assert (row.state, row.possible_duplicates, row.attempts) == (ForwardState.DELIVERED, 1, 0)
    assert (row.pending_since, row.claim_token) == (None, second)
    assert row.settled_at is not None


@pytest.mark.parametrize("ending", ["settle_delivered", "release"])
async def test_the_new_holder_notes_its_attempts_although_the_event_is_settled(storage: Storage, ending: str) -> None:
    event_id, first, second = await taken_over(storage)
    await storage.ledger.settle_delivered([attempt(event_id)], token=first)
    theirs = DeliveryRecord(event_id, 1, 2, AT, "timeout", None, (FAILED,))

    if ending == "release":
        await storage.ledger.release([theirs], token=second)
    else:
        await storage.ledger.settle_delivered([theirs], token=second)

    row = await row_of(storage, event_id)
    assert (row.state, row.possible_duplicates, row.attempts) == (ForwardState.DELIVERED, 2, 1)
    assert (row.claim_token, row.claimed_until) == (None, None)


async def test_a_delivery_settled_again_changes_nothing(storage: Storage) -> None:
    event_id, first, second = await taken_over(storage)
    await storage.ledger.settle_delivered([attempt(event_id, 1, history=(CONFIRMED,))], token=second)
    before = await row_of(storage, event_id)

    await storage.ledger.settle_delivered([attempt(event_id, 9)], token=first)
    await storage.ledger.settle_delivered([attempt(event_id, 9)], token=second)

    assert await row_of(storage, event_id) == before


@pytest.mark.parametrize("seconds_left", [0.0, LONG])
async def test_the_holder_settles_a_delivery_with_its_account(storage: Storage, seconds_left: float) -> None:
    (event_id,), ours = await logged(storage), token()
    await storage.ledger.claim([event_id], token=ours, seconds=LONG)

    await storage.ledger.settle_delivered([attempt(event_id, 3)], token=ours, seconds_left=seconds_left)

    row = await row_of(storage, event_id)
    assert (row.state, row.attempts, row.claim_token) == (ForwardState.DELIVERED, 3, None)


async def test_settling_as_dead_returns_the_events_that_were_written(storage: Storage) -> None:
    (mine, expired), ours = await logged(storage, 2), token()
    await storage.ledger.claim([expired], token=ours, seconds=SHORT)
    await storage.time_passes(SHORT + 0.05)
    await storage.ledger.claim([mine], token=ours, seconds=LONG)

    written = await storage.ledger.settle_dead([attempt(mine), attempt(expired)], token=ours)

    assert written == {mine}
