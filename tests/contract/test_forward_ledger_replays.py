"""What every ReplayLedger does: makes dead events pending again, counts the replay, and leaves others alone."""

import uuid
from dataclasses import replace
from datetime import UTC, datetime

import anyio

from shared.events.attempt_history import HistoryEntry, HistoryKind
from shared.events.forward_ledger import ClaimOutcome, DeliveryRecord, forward_shard
from shared.events.replay_ledger import ReopenOutcome, ReopenResult
from tests.support.emulators.storages import Storage
from tests.support.sample_events import sample_event, sample_row

AT = datetime(2026, 3, 4, 5, 6, 7, 891_011, UTC)
REJECTED = HistoryEntry(HistoryKind.ATTEMPT, AT, "rejected", "http_400", 400)


async def logged(storage: Storage) -> str:
    row = sample_row()
    await storage.repository.append([row])
    return row.event.event_id


async def settle_dead(storage: Storage, event_id: str) -> None:
    await storage.ledger.claim([event_id], token="worker", seconds=60)
    await storage.ledger.settle_dead([DeliveryRecord(event_id, 2, 1, AT, "http_400", 400, (REJECTED,))], token="worker")


async def dead(storage: Storage) -> str:
    event_id = await logged(storage)
    await settle_dead(storage, event_id)
    return event_id


async def reopen(storage: Storage, *event_ids: str, max_replays: int = 3) -> list[ReopenResult]:
    return list((await storage.replays.reopen(event_ids, max_replays=max_replays)).values())


async def test_what_is_dead_is_pending_again_with_all_that_was_noted_of_it(storage: Storage) -> None:
    event_id = await dead(storage)
    before = await storage.now()

    assert await reopen(storage, event_id) == [ReopenResult(event_id, ReopenOutcome.REOPENED, replays=1)]

    row = await storage.ledger_row(event_id)
    assert row is not None
    assert (row.state, row.replays, row.settled_at) == ("PENDING", 1, None)
    assert (row.claim_token, row.claimed_until) == (None, None)
    assert (row.attempts, row.possible_duplicates, row.last_reason, row.last_status) == (2, 1, "http_400", 400)
    assert row.pending_since is not None
    assert row.pending_since >= before
    entries = await storage.ledger.claim([event_id], token="other", seconds=60)
    assert entries[event_id].outcome is ClaimOutcome.CLAIMED


async def test_a_replay_is_noted_behind_what_was_with_the_time_of_the_ledger(storage: Storage) -> None:
    event_id = await dead(storage)
    before = await storage.now()

    await reopen(storage, event_id)

    was, replay = (await storage.ledger.claim([event_id], token="other", seconds=60))[event_id].history
    assert was == REJECTED
    assert replay.kind is HistoryKind.REPLAY
    assert replay.at is not None
    assert before <= replay.at <= await storage.now()


async def test_a_reopened_event_begins_anew(storage: Storage) -> None:
    event_id = await logged(storage)
    await storage.republishing.mark_republished([event_id], intervals=(60,))
    await storage.ledger.claim([event_id], token="worker", seconds=60)
    alone = DeliveryRecord(event_id, 2, 0, AT, "http_400", 400, (), alone_failures=3)
    await storage.ledger.settle_dead([alone], token="worker")
    before = await storage.ledger_row(event_id)

    await reopen(storage, event_id)

    row = await storage.ledger_row(event_id)
    assert before is not None
    assert row is not None
    assert (before.alone_failures, before.republished) == (3, 1)
    assert (row.alone_failures, row.not_before) == (0, None)
    assert (row.republished, row.republished_at, row.again_at) == (0, None, None)


async def test_a_reopened_event_is_the_reconcilers_where_nobody_publishes_it(storage: Storage) -> None:
    event = sample_event()
    await storage.repository.append([sample_row(event)])
    await settle_dead(storage, event.event_id)
    await reopen(storage, event.event_id)
    await storage.time_passes(0.001)

    shard = forward_shard(event.event_id)

    page = await storage.republishing.unpublished(shard=shard, after=None, older_than_seconds=0, limit=9)
    assert page.event_ids == [event.event_id]
    (marked,) = await storage.republishing.mark_republished(page.event_ids, intervals=(60,))
    assert marked.event == event


async def test_each_is_told_as_it_was_found_and_only_the_dead_are_changed(storage: Storage) -> None:
    delivered, pending, held, gone, other = [await logged(storage) for _ in range(5)]
    await storage.ledger.settle_delivered([DeliveryRecord(delivered, 1, 0, AT, "http_202", 202, ())])
    await storage.ledger.claim([held], token="worker", seconds=60)
    await storage.delete(gone)
    before = [await storage.ledger_row(event_id) for event_id in (delivered, pending, held, other)]
    never = str(uuid.uuid4())

    assert await reopen(storage, delivered, pending, held, gone, never) == [
        ReopenResult(delivered, ReopenOutcome.DELIVERED),
        ReopenResult(pending, ReopenOutcome.PENDING),
        ReopenResult(held, ReopenOutcome.IN_FLIGHT),
        ReopenResult(gone, ReopenOutcome.MISSING),
        ReopenResult(never, ReopenOutcome.MISSING),
    ]
    assert [await storage.ledger_row(event_id) for event_id in (delivered, pending, held, other)] == before


async def test_an_expired_claim_holds_nothing(storage: Storage) -> None:
    event_id = await logged(storage)
    await storage.ledger.claim([event_id], token="died", seconds=0.05)
    await storage.time_passes(0.06)

    assert await reopen(storage, event_id) == [ReopenResult(event_id, ReopenOutcome.PENDING)]


async def test_an_event_that_keeps_coming_back_is_quarantined(storage: Storage) -> None:
    event_id = await dead(storage)
    for replays in (1, 2):
        assert await reopen(storage, event_id, max_replays=2) == [
            ReopenResult(event_id, ReopenOutcome.REOPENED, replays)
        ]
        await settle_dead(storage, event_id)
    before = await storage.ledger_row(event_id)

    assert await reopen(storage, event_id, max_replays=2) == [ReopenResult(event_id, ReopenOutcome.QUARANTINED, 2)]
    assert await storage.ledger_row(event_id) == before
    assert await reopen(storage, event_id) == [ReopenResult(event_id, ReopenOutcome.REOPENED, 3)]


async def test_reopening_again_counts_once(storage: Storage) -> None:
    event_id = await dead(storage)
    await reopen(storage, event_id)

    assert await reopen(storage, event_id) == [ReopenResult(event_id, ReopenOutcome.PENDING, replays=1)]


async def test_of_two_at_once_one_reopens(storage: Storage) -> None:
    event_ids = [await dead(storage) for _ in range(3)]
    ledgers = [storage.replays, await storage.another_replay_ledger()]
    found: list[ReopenResult] = []

    async def reopen_with(number: int) -> None:
        found.extend((await ledgers[number].reopen(event_ids, max_replays=3)).values())

    async with anyio.create_task_group() as tasks:
        for number in (0, 1):
            tasks.start_soon(reopen_with, number)

    assert sorted(each.found for each in found) == [*[ReopenOutcome.PENDING] * 3, *[ReopenOutcome.REOPENED] * 3]
    assert {each.replays for each in found} == {1}


async def test_nothing_to_reopen_is_no_error(storage: Storage) -> None:
    assert await reopen(storage) == []


async def test_events_are_read_as_they_were_logged(storage: Storage) -> None:
    events = [sample_event(metadata={"n": number}) for number in range(5)]
    await storage.repository.append([sample_row(event) for event in events])

    found = await storage.replays.events([*(event.event_id for event in events), str(uuid.uuid4())])

    assert found == {event.event_id: replace(event) for event in events}


async def test_a_replay_takes_an_expired_claim_from_its_holder_who_can_settle_as_dead_no_more(storage: Storage) -> None:
    row = sample_row()
    event_id = row.event.event_id
    await storage.repository.append([row])
    await storage.ledger.claim([event_id], token="worker", seconds=0.05)
    await storage.time_passes(0.1)

    found = await storage.replays.reopen([event_id], max_replays=3)
    settled = await storage.ledger.settle_dead(
        [DeliveryRecord(event_id, 1, 0, AT, "http_400", 400, ())], token="worker"
    )
    claimed = await storage.ledger.claim([event_id], token="next", seconds=60)

    assert found[event_id].found is ReopenOutcome.PENDING
    assert settled == set()
    assert claimed[event_id].outcome is ClaimOutcome.CLAIMED
    assert claimed[event_id].possible_duplicates == 1
