"""What every ForwardLedger does when it is asked to claim, to settle and to release."""

import uuid
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

import anyio
import pytest

from shared.attempt_history import History, HistoryEntry, HistoryKind
from shared.event import EventLogRow
from shared.forward_ledger import Attempt, Entry, ForwardState, Standing
from tests.support.memory_event_log import LedgerRow
from tests.support.sample_events import sample_row
from tests.support.storages import Storage

LONG = 60.0
SHORT = 0.05
AT = datetime(2026, 3, 4, 5, 6, 7, 891_011, UTC)
FAILED = HistoryEntry(HistoryKind.ATTEMPT, AT, "transient", "http_503", 503)
CONFIRMED = HistoryEntry(HistoryKind.ATTEMPT, AT, "confirmed", "http_202", 202)


def token() -> str:
    return str(uuid.uuid4())


def attempt(
    event_id: str, attempts: int = 1, reason: str = "http_202", status: int | None = 202, history: History = ()
) -> Attempt:
    return Attempt(event_id, attempts, 0, AT, reason, status, history)


async def logged(storage: Storage, count: int = 1) -> list[str]:
    rows: list[EventLogRow] = [sample_row() for _ in range(count)]
    await storage.repository.append(rows)
    return [row.event.event_id for row in rows]


async def row_of(storage: Storage, event_id: str) -> LedgerRow:
    row = await storage.ledger_row(event_id)
    assert row is not None
    return row


def standings(entries: dict[str, Entry]) -> list[Standing]:
    return [entry.standing for entry in entries.values()]


async def claim_when_expired(storage: Storage, event_id: str) -> Entry:
    await storage.time_passes(SHORT)
    entry = (await storage.ledger.claim([event_id], token=token(), seconds=SHORT))[event_id]
    assert entry.standing is Standing.CLAIMED
    return entry


async def test_a_claim_tells_of_each_event_where_it_stands(storage: Storage) -> None:
    ours, other = token(), token()
    pending, delivered, dead, held = await logged(storage, 4)
    missing, not_forwarded = str(uuid.uuid4()), sample_row(forward=False)
    await storage.repository.append([not_forwarded])
    await storage.ledger.settle_delivered([attempt(delivered, attempts=2)])
    await storage.ledger.claim([dead], token=other, seconds=LONG)
    await storage.ledger.settle_dead([attempt(dead, 3, "http_400", 400)], token=other)
    await storage.ledger.claim([held], token=other, seconds=LONG)

    asked = [pending, delivered, dead, held, missing, not_forwarded.event.event_id]
    entries = await storage.ledger.claim(asked, token=ours, seconds=LONG)

    assert entries == {
        pending: Entry(pending, Standing.CLAIMED),
        delivered: Entry(delivered, Standing.DELIVERED, attempts=2),
        dead: Entry(dead, Standing.DEAD, attempts=3),
        held: Entry(held, Standing.HELD),
        missing: Entry(missing, Standing.MISSING),
        not_forwarded.event.event_id: Entry(not_forwarded.event.event_id, Standing.MISSING),
    }
    assert (await row_of(storage, held)).claim_token == other


async def test_a_claim_of_nothing_finds_nothing(storage: Storage) -> None:
    assert await storage.ledger.claim([], token=token(), seconds=LONG) == {}


async def test_500_events_are_one_claim_and_one_settlement(storage: Storage) -> None:
    event_ids = await logged(storage, 500)

    assert standings(await storage.ledger.claim(event_ids, token=token(), seconds=LONG)) == [Standing.CLAIMED] * 500
    await storage.ledger.settle_delivered([attempt(event_id) for event_id in event_ids])

    assert standings(await storage.ledger.claim(event_ids, token=token(), seconds=LONG)) == [Standing.DELIVERED] * 500


async def test_claiming_again_with_the_same_token_extends_the_claim(storage: Storage) -> None:
    (event_id,), ours = await logged(storage), token()
    await storage.ledger.claim([event_id], token=ours, seconds=SHORT)
    first = (await row_of(storage, event_id)).claimed_until

    again = (await storage.ledger.claim([event_id], token=ours, seconds=LONG))[event_id]
    await storage.time_passes(SHORT)
    other = (await storage.ledger.claim([event_id], token=token(), seconds=LONG))[event_id]

    assert again == Entry(event_id, Standing.CLAIMED, possible_duplicates=0)
    assert other.standing is Standing.HELD
    extended = (await row_of(storage, event_id)).claimed_until
    assert first is not None
    assert extended is not None
    assert (extended - first).total_seconds() > LONG / 2


async def test_ones_own_expired_claim_is_no_possible_duplicate(storage: Storage) -> None:
    (event_id,), ours = await logged(storage), token()
    await storage.ledger.claim([event_id], token=ours, seconds=SHORT)
    await storage.time_passes(SHORT)

    again = (await storage.ledger.claim([event_id], token=ours, seconds=LONG))[event_id]

    assert again == Entry(event_id, Standing.CLAIMED, possible_duplicates=0)


async def test_each_take_over_of_an_expired_claim_counts_a_possible_duplicate(storage: Storage) -> None:
    (event_id,) = await logged(storage)
    await storage.ledger.claim([event_id], token=token(), seconds=SHORT)

    assert (await claim_when_expired(storage, event_id)).possible_duplicates == 1
    assert (await row_of(storage, event_id)).possible_duplicates == 1
    assert (await claim_when_expired(storage, event_id)).possible_duplicates == 2
    assert (await row_of(storage, event_id)).possible_duplicates == 2


async def test_an_event_that_nobody_tried_has_no_history(storage: Storage) -> None:
    (event_id,) = await logged(storage)

    assert (await row_of(storage, event_id)).history is None
    assert (await storage.ledger.claim([event_id], token=token(), seconds=LONG))[event_id].history == ()


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

    await storage.ledger.release([Attempt(event_id, 1, 0, None, "not_sent", None, ())], token=second)

    assert (await storage.ledger.claim([event_id], token=token(), seconds=LONG))[event_id].history == (FAILED,)


async def test_taking_over_an_expired_claim_is_noted_behind_what_was(storage: Storage) -> None:
    (event_id,), first = await logged(storage), token()
    await storage.ledger.claim([event_id], token=first, seconds=LONG)
    await storage.ledger.release([attempt(event_id, history=(FAILED,))], token=first)
    await storage.ledger.claim([event_id], token=first, seconds=SHORT)
    expired_after = await storage.now()

    taken = await claim_when_expired(storage, event_id)

    was, taken_over = taken.history
    assert was == FAILED
    assert taken_over.kind is HistoryKind.TAKE_OVER
    assert taken_over.at is not None
    assert expired_after <= taken_over.at <= await storage.now()
    assert len((await claim_when_expired(storage, event_id)).history) == 3, "it was written with the claim"


async def test_a_released_claim_is_taken_over_without_a_possible_duplicate(storage: Storage) -> None:
    (event_id,), ours = await logged(storage), token()
    await storage.ledger.claim([event_id], token=ours, seconds=LONG)

    await storage.ledger.release([Attempt(event_id, 2, 1, AT, "http_503", 503, ())], token=ours)

    entry = (await storage.ledger.claim([event_id], token=token(), seconds=LONG))[event_id]
    assert entry == Entry(event_id, Standing.CLAIMED, attempts=2, possible_duplicates=1)
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
    never = Attempt(untried, 4, 0, None, "not_sent", None, ())

    await storage.ledger.release([again, never], token=ours)

    row = await row_of(storage, untried)
    assert (row.attempts, row.last_attempt_at, row.last_reason) == (4, AT, "dns")
    assert (row.claim_token, row.claimed_until) == (None, None)
    row = await row_of(storage, tried)
    assert (row.attempts, row.last_reason, row.last_status) == (5, "timeout", None)
    assert (row.claim_token, row.claimed_until) == (None, None)


async def test_who_does_not_hold_the_claim_can_neither_release_nor_bury(storage: Storage) -> None:
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


async def test_the_holder_buries(storage: Storage) -> None:
    (event_id,), ours = await logged(storage), token()
    await storage.ledger.claim([event_id], token=ours, seconds=LONG)

    await storage.ledger.settle_dead([attempt(event_id, 2, "http_422", 422)], token=ours)

    row = await row_of(storage, event_id)
    assert (row.state, row.attempts, row.last_reason, row.last_status) == (ForwardState.DEAD, 2, "http_422", 422)
    assert (row.pending_since, row.claim_token, row.claimed_until) == (None, None, None)
    assert row.settled_at is not None


async def test_a_claim_that_has_expired_buries_no_more(storage: Storage) -> None:
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

    await storage.ledger.settle_delivered([Attempt(event_id, 3, 1, AT, "http_202", 202, ())])

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


@pytest.mark.parametrize("ledgers", [1, 4])
async def test_of_claims_at_the_same_time_exactly_one_wins(storage: Storage, ledgers: int) -> None:
    handles = [storage.ledger, *[await storage.another_ledger() for _ in range(ledgers - 1)]]
    event_ids = await logged(storage, 10)
    found: list[dict[str, Entry]] = []

    async def claim(number: int) -> None:
        # Each in its own order, which must not matter.
        mine: Sequence[str] = event_ids[number:] + event_ids[:number]
        found.append(await handles[number % ledgers].claim(mine, token=token(), seconds=LONG))

    async with anyio.create_task_group() as tasks:
        for number in range(8):
            tasks.start_soon(claim, number)

    for event_id in event_ids:
        assert sorted(entries[event_id].standing for entries in found) == [Standing.CLAIMED, *[Standing.HELD] * 7]


async def test_claims_settlements_and_releases_of_many_batches_at_the_same_time_all_succeed(storage: Storage) -> None:
    batches = [await logged(storage, 5) for _ in range(6)]

    async def work(event_ids: list[str]) -> None:
        ours = token()
        entries = await storage.ledger.claim(event_ids, token=ours, seconds=LONG)
        assert standings(entries) == [Standing.CLAIMED] * 5
        attempts = [attempt(event_id) for event_id in event_ids]
        await storage.ledger.settle_delivered(attempts[:2])
        await storage.ledger.settle_dead(attempts[2:3], token=ours)
        await storage.ledger.release(attempts[3:], token=ours)

    async with anyio.create_task_group() as tasks:
        for event_ids in batches:
            tasks.start_soon(work, event_ids)

    for event_ids in batches:
        states = [(await row_of(storage, event_id)).state for event_id in event_ids]
        assert states == ["DELIVERED", "DELIVERED", "DEAD", "PENDING", "PENDING"]


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
    theirs = Attempt(event_id, 1, 2, AT, "timeout", None, (FAILED,))

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


async def test_a_burial_tells_for_which_events_it_was_written(storage: Storage) -> None:
    (mine, expired), ours = await logged(storage, 2), token()
    await storage.ledger.claim([expired], token=ours, seconds=SHORT)
    await storage.time_passes(SHORT + 0.05)
    await storage.ledger.claim([mine], token=ours, seconds=LONG)

    written = await storage.ledger.settle_dead([attempt(mine), attempt(expired)], token=ours)

    assert written == {mine}
