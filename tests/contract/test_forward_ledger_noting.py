"""What every ForwardLedger does with attempts noted under a claim, and with claims that are resumed."""

import pytest

from shared.events.attempt_history import HistoryKind
from shared.events.forward_ledger import ClaimOutcome, ClaimResult, DeliveryRecord, ForwardState
from tests.support.emulators.claiming import AT, FAILED, LONG, SHORT, attempt, logged, row_of, token
from tests.support.emulators.storages import Storage


async def test_what_is_noted_stands_and_the_claim_goes_on(storage: Storage) -> None:
    (event_id,), ours = await logged(storage), token()
    await storage.ledger.claim([event_id], token=ours, seconds=LONG)
    before = await row_of(storage, event_id)

    kept = await storage.ledger.note([DeliveryRecord(event_id, 2, 1, AT, "timeout", None, (FAILED,))], token=ours)

    assert kept == {event_id}
    row = await row_of(storage, event_id)
    assert (row.attempts, row.possible_duplicates, row.last_attempt_at) == (2, 1, AT)
    assert (row.last_reason, row.last_status, row.state) == ("timeout", None, ForwardState.PENDING)
    assert (row.claim_token, row.claimed_until) == (ours, before.claimed_until)
    assert row.pending_since == before.pending_since


async def test_who_takes_over_finds_what_was_noted(storage: Storage) -> None:
    (event_id,), ours = await logged(storage), token()
    await storage.ledger.claim([event_id], token=ours, seconds=SHORT)
    await storage.ledger.note([DeliveryRecord(event_id, 2, 1, AT, "timeout", None, (FAILED,))], token=ours)
    await storage.time_passes(SHORT)

    entry = (await storage.ledger.claim([event_id], token=token(), seconds=LONG))[event_id]

    assert (entry.attempts, entry.possible_duplicates) == (2, 2)
    assert [line.kind for line in entry.history] == [HistoryKind.ATTEMPT, HistoryKind.TAKE_OVER]


async def test_only_what_may_be_sent_again_is_returned(storage: Storage) -> None:
    held, expired, anothers, unclaimed, dead, gone = await logged(storage, 6)
    ours, other = token(), token()
    await storage.ledger.claim([expired], token=ours, seconds=SHORT)
    await storage.ledger.claim([anothers], token=other, seconds=LONG)
    await storage.ledger.claim([held, dead, gone], token=ours, seconds=LONG)
    await storage.ledger.settle_dead([attempt(dead)], token=ours)
    await storage.delete(gone)
    await storage.time_passes(SHORT)
    untouched = [await row_of(storage, event_id) for event_id in (anothers, unclaimed, dead)]

    asked = (held, expired, anothers, unclaimed, dead, gone)
    kept = await storage.ledger.note([attempt(event_id, 5) for event_id in asked], token=ours)

    assert kept == {held}
    assert (await row_of(storage, expired)).attempts == 5, "nobody took it over: the account is ours"
    assert [await row_of(storage, event_id) for event_id in (anothers, unclaimed, dead)] == untouched


async def test_what_an_earlier_holder_delivered_meanwhile_is_noted_and_not_sent_again(storage: Storage) -> None:
    (event_id,), first, second = await logged(storage), token(), token()
    await storage.ledger.claim([event_id], token=first, seconds=SHORT)
    await storage.time_passes(SHORT)
    await storage.ledger.claim([event_id], token=second, seconds=LONG)
    await storage.ledger.settle_delivered([attempt(event_id)], token=first)

    kept = await storage.ledger.note([DeliveryRecord(event_id, 1, 2, AT, "timeout", None, ())], token=second)

    assert kept == set()
    row = await row_of(storage, event_id)
    assert (row.state, row.possible_duplicates) == (ForwardState.DELIVERED, 2)


async def test_a_note_leaves_the_suspects_part_alone(storage: Storage) -> None:
    (event_id,), first, ours = await logged(storage), token(), token()
    await storage.ledger.claim([event_id], token=first, seconds=LONG)
    await storage.ledger.release([attempt(event_id, wait_seconds=0, alone_failures=3)], token=first)
    await storage.time_passes(0.001)
    await storage.ledger.claim([event_id], token=ours, seconds=SHORT)
    before = await row_of(storage, event_id)

    await storage.ledger.note([attempt(event_id, 2)], token=ours)

    row = await row_of(storage, event_id)
    assert (row.alone_failures, row.not_before) == (3, before.not_before)


async def test_noting_nothing_is_no_error(storage: Storage) -> None:
    assert await storage.ledger.note([], token=token()) == set()


@pytest.mark.parametrize("wait", [0.0, SHORT], ids=["running", "expired"])
async def test_a_claim_of_ones_own_is_taken_over_without_a_possible_duplicate(storage: Storage, wait: float) -> None:
    (event_id,), earlier, ours = await logged(storage), token(), token()
    await storage.ledger.claim([event_id], token=earlier, seconds=SHORT if wait else LONG)
    await storage.time_passes(wait)

    entries = await storage.ledger.claim([event_id], token=ours, seconds=LONG, own={event_id: {token(), earlier}})

    assert entries == {event_id: ClaimResult(event_id, ClaimOutcome.CLAIMED, is_resumed=True)}
    row = await row_of(storage, event_id)
    assert (row.claim_token, row.possible_duplicates, row.history) == (ours, 0, None)
    assert (await storage.ledger.claim([event_id], token=token(), seconds=LONG))[
        event_id
    ].outcome is ClaimOutcome.CLAIMED_ELSEWHERE


async def test_whose_claim_it_is_is_told_by_the_event(storage: Storage) -> None:
    held, expired, free = await logged(storage, 3)
    other, earlier = token(), token()
    await storage.ledger.claim([held], token=other, seconds=LONG)
    await storage.ledger.claim([expired], token=other, seconds=SHORT)
    await storage.time_passes(SHORT)

    own = {key: [earlier] for key in (held, expired, free)}
    entries = await storage.ledger.claim([held, expired, free], token=token(), seconds=LONG, own=own)

    assert [entry.outcome for entry in entries.values()] == [
        ClaimOutcome.CLAIMED_ELSEWHERE,
        ClaimOutcome.CLAIMED,
        ClaimOutcome.CLAIMED,
    ]
    assert [entry.possible_duplicates for entry in entries.values()] == [0, 1, 0]
    assert [entry.is_resumed for entry in entries.values()] == [False, False, False]


async def test_what_was_released_is_not_resumed_and_no_suspect_is_tried_before_its_time(storage: Storage) -> None:
    released, aside = await logged(storage, 2)
    earlier = token()
    await storage.ledger.claim([released, aside], token=earlier, seconds=LONG)
    await storage.ledger.release([attempt(released), attempt(aside, wait_seconds=LONG)], token=earlier)

    own = {key: [earlier] for key in (released, aside)}
    entries = await storage.ledger.claim([released, aside], token=token(), seconds=LONG, own=own)

    assert [entry.outcome for entry in entries.values()] == [ClaimOutcome.CLAIMED, ClaimOutcome.WAITING]
    assert [entry.is_resumed for entry in entries.values()] == [False, False]


async def test_what_is_settled_is_so_whoever_held_it(storage: Storage) -> None:
    (event_id,), earlier = await logged(storage), token()
    await storage.ledger.claim([event_id], token=earlier, seconds=LONG)
    await storage.ledger.settle_delivered([attempt(event_id)], token="before that")

    entries = await storage.ledger.claim([event_id], token=token(), seconds=LONG, own={event_id: {token(), earlier}})

    assert entries[event_id].outcome is ClaimOutcome.DELIVERED


@pytest.mark.parametrize("call", ["release", "settle_delivered", "settle_delivered late"])
async def test_a_bound_of_the_calls_own_does_what_the_usual_one_does(storage: Storage, call: str) -> None:
    (event_id,), ours = await logged(storage), token()
    await storage.ledger.claim([event_id], token=ours, seconds=LONG)

    if call == "release":
        await storage.ledger.release([attempt(event_id, 7)], token=ours, within_seconds=5)
    else:
        left = 0.0 if call.endswith("late") else LONG
        await storage.ledger.settle_delivered([attempt(event_id, 7)], token=ours, seconds_left=left, within_seconds=5)

    row = await row_of(storage, event_id)
    assert (row.attempts, row.claim_token) == (7, None)
