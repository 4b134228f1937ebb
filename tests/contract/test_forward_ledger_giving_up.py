"""What every ForwardLedger does with an event that is given up before its dead letter is published."""

import pytest

from shared.events.attempt_history import HistoryEntry, HistoryKind
from shared.events.forward_ledger import ClaimOutcome, DeliveryRecord, ForwardState
from shared.events.replay_ledger import ReopenOutcome
from tests.support.emulators.claiming import AT, LONG, SHORT, attempt, claim_when_expired, logged, row_of, token
from tests.support.emulators.storages import Storage

REJECTED = HistoryEntry(HistoryKind.ATTEMPT, AT, "rejected", "http_400", 400, "no")


async def given_up(storage: Storage, *, claimed_for: float) -> str:
    """An event that a batch gave up and did not settle."""
    (event_id,), ours = await logged(storage), token()
    await storage.ledger.claim([event_id], token=ours, seconds=LONG)
    record = DeliveryRecord(event_id, 3, 2, AT, "http_400", 400, (REJECTED,), alone_failures=1)
    assert await storage.ledger.give_up([record], token=ours) == {event_id}
    await storage.ledger.claim([event_id], token=ours, seconds=claimed_for)  # not before: a short claim may have ended
    return event_id


async def test_the_next_claim_finds_why_it_was_given_up_and_every_attempt_but_no_possible_duplicate(
    storage: Storage,
) -> None:
    event_id = await given_up(storage, claimed_for=SHORT)

    result = await claim_when_expired(storage, event_id)

    assert result.given_up_reason == "http_400"
    assert (result.attempts, result.possible_duplicates, result.history) == (3, 2, (REJECTED,))
    assert result.alone_failures == 1
    row = await row_of(storage, event_id)
    assert (row.state, row.last_attempt_at, row.last_reason, row.last_status) == ("PENDING", AT, "http_400", 400)


async def test_it_stays_given_up_until_it_is_settled(storage: Storage) -> None:
    event_id = await given_up(storage, claimed_for=SHORT)
    await storage.time_passes(SHORT)
    ours = token()
    await storage.ledger.claim([event_id], token=ours, seconds=LONG)
    await storage.ledger.release([attempt(event_id, 3, "not_sent", None)], token=ours)

    again = (await storage.ledger.claim([event_id], token=ours, seconds=LONG))[event_id]
    assert again.given_up_reason == "http_400"

    assert await storage.ledger.settle_dead([attempt(event_id, 3, "http_400", 400)], token=ours) == {event_id}
    assert (await row_of(storage, event_id)).given_up_reason is None


async def test_a_delivery_is_a_fact_also_where_another_batch_gave_the_event_up(storage: Storage) -> None:
    (event_id,), late = await logged(storage), token()
    await storage.ledger.claim([event_id], token=late, seconds=SHORT)
    await storage.time_passes(SHORT)
    other = token()
    await storage.ledger.claim([event_id], token=other, seconds=LONG)
    await storage.ledger.give_up([attempt(event_id, 2, "http_400", 400)], token=other)

    await storage.ledger.settle_delivered([attempt(event_id)], token=late)

    row = await row_of(storage, event_id)
    assert (row.state, row.given_up_reason) == (ForwardState.DELIVERED, None)
    assert await storage.ledger.settle_dead([attempt(event_id, 2, "http_400", 400)], token=other) == set()


async def test_a_suspect_that_is_given_up_is_none_any_more_and_has_nothing_to_wait_for(storage: Storage) -> None:
    (event_id,), first, second = await logged(storage), token(), token()
    await storage.ledger.claim([event_id], token=first, seconds=LONG)
    await storage.ledger.release([attempt(event_id, 1, "http_500", 500, wait_seconds=SHORT)], token=first)
    await storage.time_passes(SHORT)
    trial = (await storage.ledger.claim([event_id], token=second, seconds=LONG))[event_id]
    assert trial.is_suspect

    await storage.ledger.give_up([attempt(event_id, 2, "exhausted", 500)], token=second)

    assert (await row_of(storage, event_id)).not_before is None
    await storage.ledger.claim([event_id], token=second, seconds=SHORT)
    next_one = await claim_when_expired(storage, event_id)
    assert (next_one.is_suspect, next_one.given_up_reason) == (False, "exhausted")


async def test_only_what_the_batch_still_holds_is_given_up(storage: Storage) -> None:
    held, expired, anothers, unclaimed, dead, gone = await logged(storage, 6)
    ours, other = token(), token()
    await storage.ledger.claim([expired], token=ours, seconds=SHORT)
    await storage.ledger.claim([anothers], token=other, seconds=LONG)
    await storage.ledger.claim([held, dead, gone], token=ours, seconds=LONG)
    await storage.ledger.settle_dead([attempt(dead)], token=ours)
    await storage.delete(gone)
    await storage.time_passes(SHORT)
    untouched = [await row_of(storage, event_id) for event_id in (expired, anothers, unclaimed, dead)]

    asked = (held, expired, anothers, unclaimed, dead, gone)
    written = await storage.ledger.give_up([attempt(event_id, 5) for event_id in asked], token=ours)

    assert written == {held}
    assert [await row_of(storage, event_id) for event_id in (expired, anothers, unclaimed, dead)] == untouched
    assert await storage.ledger.give_up([], token=ours) == set()


async def test_a_claim_of_its_own_process_finds_it_given_up_too(storage: Storage) -> None:
    (event_id,), first, second = await logged(storage), token(), token()
    await storage.ledger.claim([event_id], token=first, seconds=LONG)
    await storage.ledger.give_up([attempt(event_id, 1, "rule", None)], token=first)

    (result,) = (await storage.ledger.claim([event_id], token=second, seconds=LONG, own={event_id: [first]})).values()

    assert (result.outcome, result.is_resumed, result.given_up_reason) == (ClaimOutcome.CLAIMED, True, "rule")


async def test_a_replay_makes_it_sendable_again_and_counts(storage: Storage) -> None:
    """Its dead letter may be published and collected already, and the replay closes it."""
    event_id = await given_up(storage, claimed_for=SHORT)
    await storage.time_passes(SHORT)

    result = (await storage.replays.reopen([event_id], max_replays=3))[event_id]

    assert (result.found, result.replays) == (ReopenOutcome.REOPENED, 1)
    row = await row_of(storage, event_id)
    assert (row.state, row.given_up_reason, row.claim_token) == (ForwardState.PENDING, None, None)
    claimed = (await storage.ledger.claim([event_id], token=token(), seconds=LONG))[event_id]
    assert (claimed.outcome, claimed.given_up_reason) == (ClaimOutcome.CLAIMED, None)


@pytest.mark.parametrize(
    ("claimed_for", "max_replays", "found"),
    [(LONG, 3, ReopenOutcome.IN_FLIGHT), (SHORT, 0, ReopenOutcome.QUARANTINED)],
)
async def test_a_replay_leaves_it_while_a_worker_holds_it_and_where_it_was_replayed_too_often(
    storage: Storage, claimed_for: float, max_replays: int, found: ReopenOutcome
) -> None:
    event_id = await given_up(storage, claimed_for=claimed_for)
    await storage.time_passes(SHORT)

    assert (await storage.replays.reopen([event_id], max_replays=max_replays))[event_id].found is found
    assert (await row_of(storage, event_id)).given_up_reason == "http_400"
