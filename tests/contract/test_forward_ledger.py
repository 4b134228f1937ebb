"""What every ForwardLedger does when events are claimed."""

import uuid
from collections.abc import Sequence

import anyio
import pytest

from shared.events.attempt_history import HistoryKind
from shared.events.forward_ledger import ClaimOutcome, ClaimResult
from tests.support.emulators.claiming import (
    FAILED,
    LONG,
    SHORT,
    attempt,
    claim_when_expired,
    logged,
    outcomes,
    row_of,
    token,
)
from tests.support.emulators.storages import Storage
from tests.support.sample_events import sample_row


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
        pending: ClaimResult(pending, ClaimOutcome.CLAIMED),
        delivered: ClaimResult(delivered, ClaimOutcome.DELIVERED, attempts=2),
        dead: ClaimResult(dead, ClaimOutcome.DEAD, attempts=3),
        held: ClaimResult(held, ClaimOutcome.CLAIMED_ELSEWHERE),
        missing: ClaimResult(missing, ClaimOutcome.MISSING),
        not_forwarded.event.event_id: ClaimResult(not_forwarded.event.event_id, ClaimOutcome.MISSING),
    }
    assert (await row_of(storage, held)).claim_token == other


async def test_a_claim_tells_since_when_what_it_finds_pending_has_been_so(storage: Storage) -> None:
    claimed, held, delivered = await logged(storage, 3)
    await storage.ledger.claim([held], token=token(), seconds=LONG)
    await storage.ledger.settle_delivered([attempt(delivered)])
    born = {event_id: (await row_of(storage, event_id)).pending_since for event_id in (claimed, held)}

    entries = await storage.ledger.claim([claimed, held, delivered], token=token(), seconds=LONG)

    assert {event_id: entries[event_id].pending_since for event_id in born} == born
    assert None not in born.values()
    assert entries[delivered].pending_since is None


async def test_a_claim_of_nothing_finds_nothing(storage: Storage) -> None:
    assert await storage.ledger.claim([], token=token(), seconds=LONG) == {}


async def test_500_events_are_one_claim_and_one_settlement(storage: Storage) -> None:
    event_ids = await logged(storage, 500)

    assert outcomes(await storage.ledger.claim(event_ids, token=token(), seconds=LONG)) == [ClaimOutcome.CLAIMED] * 500
    await storage.ledger.settle_delivered([attempt(event_id) for event_id in event_ids])

    assert (
        outcomes(await storage.ledger.claim(event_ids, token=token(), seconds=LONG)) == [ClaimOutcome.DELIVERED] * 500
    )


async def test_claiming_again_with_the_same_token_extends_the_claim(storage: Storage) -> None:
    (event_id,), ours = await logged(storage), token()
    await storage.ledger.claim([event_id], token=ours, seconds=SHORT)
    first = (await row_of(storage, event_id)).claimed_until

    again = (await storage.ledger.claim([event_id], token=ours, seconds=LONG))[event_id]
    await storage.time_passes(SHORT)
    other = (await storage.ledger.claim([event_id], token=token(), seconds=LONG))[event_id]

    assert again == ClaimResult(event_id, ClaimOutcome.CLAIMED, possible_duplicates=0)
    assert other.outcome is ClaimOutcome.CLAIMED_ELSEWHERE
    extended = (await row_of(storage, event_id)).claimed_until
    assert first is not None
    assert extended is not None
    assert (extended - first).total_seconds() > LONG / 2


async def test_ones_own_expired_claim_is_no_possible_duplicate(storage: Storage) -> None:
    (event_id,), ours = await logged(storage), token()
    await storage.ledger.claim([event_id], token=ours, seconds=SHORT)
    await storage.time_passes(SHORT)

    again = (await storage.ledger.claim([event_id], token=ours, seconds=LONG))[event_id]

    assert again == ClaimResult(event_id, ClaimOutcome.CLAIMED, possible_duplicates=0)


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


@pytest.mark.parametrize("ledgers", [1, 4])
async def test_of_claims_at_the_same_time_exactly_one_wins(storage: Storage, ledgers: int) -> None:
    handles = [storage.ledger, *[await storage.another_ledger() for _ in range(ledgers - 1)]]
    event_ids = await logged(storage, 10)
    found: list[dict[str, ClaimResult]] = []

    async def claim(number: int) -> None:
        # Each in its own order, which must not matter.
        mine: Sequence[str] = event_ids[number:] + event_ids[:number]
        found.append(await handles[number % ledgers].claim(mine, token=token(), seconds=LONG))

    async with anyio.create_task_group() as tasks:
        for number in range(8):
            tasks.start_soon(claim, number)

    for event_id in event_ids:
        assert sorted(entries[event_id].outcome for entries in found) == [
            ClaimOutcome.CLAIMED,
            *[ClaimOutcome.CLAIMED_ELSEWHERE] * 7,
        ]


async def test_claims_settlements_and_releases_of_many_batches_at_the_same_time_all_succeed(storage: Storage) -> None:
    batches = [await logged(storage, 5) for _ in range(6)]

    async def work(event_ids: list[str]) -> None:
        ours = token()
        entries = await storage.ledger.claim(event_ids, token=ours, seconds=LONG)
        assert outcomes(entries) == [ClaimOutcome.CLAIMED] * 5
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
