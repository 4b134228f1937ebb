"""What every ForwardLedger does with a suspect: it is set aside, waits, is tried again, and ends like any other."""

from datetime import timedelta

import pytest

from shared.events.forward_ledger import ClaimOutcome, ClaimResult, DeliveryRecord
from shared.events.replay_ledger import ReopenOutcome
from tests.support.emulators.claiming import AT, FAILED, LONG, SHORT, attempt, logged, row_of, token
from tests.support.emulators.storages import Storage


async def step_aside(storage: Storage, event_id: str, *, seconds: float, alone_failures: int = 1) -> None:
    ours = token()
    await storage.ledger.claim([event_id], token=ours, seconds=LONG)
    await storage.ledger.release([attempt(event_id, wait_seconds=seconds, alone_failures=alone_failures)], token=ours)


async def claim(storage: Storage, event_id: str, ours: str | None = None, *, seconds: float = LONG) -> ClaimResult:
    return (await storage.ledger.claim([event_id], token=ours or token(), seconds=seconds))[event_id]


async def test_a_suspect_waits_by_the_time_of_the_ledger_and_nobody_claims_it(storage: Storage) -> None:
    (event_id,) = await logged(storage)
    before = await storage.now()

    await step_aside(storage, event_id, seconds=LONG, alone_failures=2)

    row = await row_of(storage, event_id)
    assert (row.alone_failures, row.claim_token, row.claimed_until) == (2, None, None)
    assert row.not_before is not None
    until = timedelta(seconds=LONG)
    assert before + until <= row.not_before <= await storage.now() + until
    assert await claim(storage, event_id) == ClaimResult(event_id, ClaimOutcome.WAITING, attempts=1, alone_failures=2)
    assert await row_of(storage, event_id) == row


async def test_when_its_wait_has_ended_it_is_claimed_as_a_suspect(storage: Storage) -> None:
    (event_id,), ours = await logged(storage), token()
    await step_aside(storage, event_id, seconds=SHORT)
    await storage.time_passes(SHORT)

    entry = await claim(storage, event_id, ours)

    expected = ClaimResult(event_id, ClaimOutcome.CLAIMED, attempts=1, alone_failures=1, is_suspect=True)
    assert entry == expected
    assert await claim(storage, event_id, ours) == expected, "extended, it is one still"


async def test_who_dies_with_it_leaves_a_suspect(storage: Storage) -> None:
    (event_id,) = await logged(storage)
    await step_aside(storage, event_id, seconds=SHORT)
    await storage.time_passes(SHORT)
    await claim(storage, event_id, seconds=SHORT)
    await storage.time_passes(SHORT)

    entry = await claim(storage, event_id)

    assert (entry.is_suspect, entry.alone_failures, entry.possible_duplicates) == (True, 1, 1)


async def test_a_wait_without_an_attempt_changes_nothing_else(storage: Storage) -> None:
    (event_id,), ours = await logged(storage), token()
    await step_aside(storage, event_id, seconds=SHORT)
    await storage.time_passes(SHORT)
    await claim(storage, event_id, ours)

    untried = DeliveryRecord(event_id, 9, 9, None, "not_sent", None, (), alone_failures=1, wait_seconds=LONG)
    await storage.ledger.release([untried], token=ours)

    row = await row_of(storage, event_id)
    assert (row.attempts, row.possible_duplicates, row.last_attempt_at, row.last_reason) == (1, 0, AT, "http_202")
    assert (await claim(storage, event_id)).outcome is ClaimOutcome.WAITING


async def test_a_release_without_an_attempt_and_a_wait_leaves_a_suspect_that_may_be_tried(storage: Storage) -> None:
    (event_id,), ours = await logged(storage), token()
    await step_aside(storage, event_id, seconds=SHORT)
    await storage.time_passes(SHORT)
    await claim(storage, event_id, ours)

    await storage.ledger.release([DeliveryRecord(event_id, 0, 0, None, "not_sent", None, ())], token=ours)

    entry = await claim(storage, event_id)
    assert (entry.outcome, entry.is_suspect, entry.alone_failures) == (ClaimOutcome.CLAIMED, True, 1)


async def test_a_release_with_an_attempt_and_no_wait_clears_it(storage: Storage) -> None:
    (event_id,), ours = await logged(storage), token()
    await step_aside(storage, event_id, seconds=SHORT)
    await storage.time_passes(SHORT)
    await claim(storage, event_id, ours)

    await storage.ledger.release([attempt(event_id, 2)], token=ours)

    assert await claim(storage, event_id) == ClaimResult(event_id, ClaimOutcome.CLAIMED, attempts=2)


async def test_of_one_release_each_gets_its_own(storage: Storage) -> None:
    tried, untried, aside, aside_untried = await logged(storage, 4)
    ours = token()
    await storage.ledger.claim([tried, untried, aside, aside_untried], token=ours, seconds=LONG)

    await storage.ledger.release(
        [
            attempt(tried, 3),
            DeliveryRecord(untried, 3, 0, None, "not_sent", None, ()),
            attempt(aside, 3, wait_seconds=LONG),
            DeliveryRecord(aside_untried, 3, 0, None, "not_sent", None, (), wait_seconds=LONG),
        ],
        token=ours,
    )

    rows = [await row_of(storage, event_id) for event_id in (tried, untried, aside, aside_untried)]
    assert [(row.attempts, row.not_before is not None, row.claim_token) for row in rows] == [
        (3, False, None),
        (0, False, None),
        (3, True, None),
        (0, True, None),
    ]


@pytest.mark.parametrize("ending", ["delivered", "delivered by a stranger", "dead"])
async def test_what_is_settled_is_no_suspect(storage: Storage, ending: str) -> None:
    (event_id,), ours = await logged(storage), token()
    await step_aside(storage, event_id, seconds=SHORT)
    await storage.time_passes(SHORT)
    await claim(storage, event_id, ours)

    if ending == "dead":
        await storage.ledger.settle_dead([attempt(event_id)], token=ours)
    else:
        await storage.ledger.settle_delivered([attempt(event_id)], token=ours if ending == "delivered" else token())

    row = await row_of(storage, event_id)
    assert row.settled_at is not None
    assert row.not_before is None


async def test_what_was_delivered_meanwhile_does_not_step_aside(storage: Storage) -> None:
    (event_id,), first, second = await logged(storage), token(), token()
    await storage.ledger.claim([event_id], token=first, seconds=SHORT)
    await storage.time_passes(SHORT)
    await storage.ledger.claim([event_id], token=second, seconds=LONG)
    await storage.ledger.settle_delivered([attempt(event_id)], token=first)

    await storage.ledger.release([attempt(event_id, 2, history=(FAILED,), wait_seconds=LONG)], token=second)

    row = await row_of(storage, event_id)
    assert (row.state, row.attempts, row.not_before) == ("DELIVERED", 2, None)


async def test_a_delivery_of_a_waiting_suspect_is_settled(storage: Storage) -> None:
    (event_id,) = await logged(storage)
    await step_aside(storage, event_id, seconds=LONG)

    await storage.ledger.settle_delivered([attempt(event_id)], token="its earlier holder")

    assert (await claim(storage, event_id)).outcome is ClaimOutcome.DELIVERED


async def test_a_replay_finds_a_waiting_suspect_pending(storage: Storage) -> None:
    (event_id,) = await logged(storage)
    await step_aside(storage, event_id, seconds=LONG)

    found = await storage.replays.reopen([event_id], max_replays=3)

    assert found[event_id].found is ReopenOutcome.PENDING
