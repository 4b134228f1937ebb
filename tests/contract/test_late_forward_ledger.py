"""What every LateForwardLedger does: finds events that were stored only, and makes each pending once."""

import uuid
from datetime import datetime, timedelta
from typing import Any

import anyio

from shared.events import attempt_history
from shared.events.attempt_history import HistoryKind
from shared.events.event import Event
from shared.events.forward_ledger import LEDGER_RETENTION, ClaimOutcome, DeliveryRecord, ForwardState, forward_shard
from shared.events.late_forward_ledger import Admission, Admitted, LateForwardLedger, StoredChoice, StoredEvent
from tests.support.emulators.storages import Storage
from tests.support.sample_events import in_shard, sample_event, sample_row

HOUR = timedelta(hours=1)


async def stored(storage: Storage, *, forward: bool = False, metadata_json: str | None = None, **fields: Any) -> Event:
    event = sample_event(**fields)
    await storage.repository.append([sample_row(event, forward=forward, metadata_json=metadata_json)])
    return event


async def around_now(storage: Storage, **values: Any) -> StoredChoice:
    now = await storage.now()
    return StoredChoice(since=now - HOUR, until=now + HOUR, **values)


async def everything(ledger: LateForwardLedger, choice: StoredChoice, *, limit: int = 100) -> list[StoredEvent]:
    found: list[StoredEvent] = []
    for shard in await ledger.shards():
        after: StoredEvent | None = None
        while page := await ledger.stored(choice, shard=shard, after=after, limit=limit):
            assert len(page) <= limit
            found += page
            after = page[-1]
    return found


async def admit_one(ledger: LateForwardLedger, event_id: str) -> Admitted:
    return (await ledger.admit([event_id]))[event_id]


async def test_events_that_were_stored_only_are_found_with_what_the_ledger_has_of_them(storage: Storage) -> None:
    await stored(storage, forward=True)
    never, later = await stored(storage), await stored(storage, name="signed_up")
    await storage.late.admit([later.event_id])

    found = await everything(storage.late, await around_now(storage))

    assert {(each.event_id, each.event_name, each.state) for each in found} == {
        (never.event_id, "order_paid", None),
        (later.event_id, "signed_up", ForwardState.PENDING),
    }


async def test_each_filter_chooses_by_itself_and_the_time_includes_its_beginning_alone(storage: Storage) -> None:
    event = await stored(storage, name="order_paid", event_type="billing", caller="a@example.com")
    at = datetime.fromisoformat("2026-03-04T05:06:07+00:00")
    await storage.set_ingested_at(event.event_id, at)

    async def is_found(since: datetime = at, until: datetime = at + HOUR, **values: Any) -> bool:
        choice = StoredChoice(since=since, until=until, **values)
        return [each.event_id for each in await everything(storage.late, choice)] == [event.event_id]

    filters: tuple[dict[str, Any], ...] = (
        {"event_name": "order_paid"},
        {"name_prefix": "order_"},
        {"event_type": "billing"},
        {"caller": "a@example.com"},
    )
    for values in filters:
        assert await is_found(**values), values
        others: dict[str, Any] = dict.fromkeys(values, "other")
        assert not await is_found(**others), values
    assert not await is_found(since=at - HOUR, until=at)
    assert not await is_found(since=at + timedelta(microseconds=1))


async def test_pages_of_a_shard_go_on_where_the_last_one_ended_also_among_events_of_one_time(storage: Storage) -> None:
    ids = [in_shard(3) for _ in range(5)]
    await storage.repository.append([sample_row(event_id=event_id, forward=False) for event_id in ids])
    await storage.time_passes(0.001)
    last = await stored(storage, event_id=in_shard(3))
    choice = await around_now(storage)

    pages = await everything(storage.late, choice, limit=2)

    assert [each.event_id for each in pages] == [*sorted(ids), last.event_id]
    assert await storage.late.stored(choice, shard=3, after=pages[-1], limit=2) == []


async def test_an_admitted_event_is_pending_like_any_other_and_its_history_says_since_when(storage: Storage) -> None:
    event = await stored(storage, metadata={"n": 1})
    before = await storage.now()

    admitted = await admit_one(storage.late, event.event_id)

    row = await storage.ledger_row(event.event_id)
    assert admitted == Admitted(Admission.ADMITTED, event)
    assert row is not None
    assert row.pending_since is not None
    assert (row.state, row.forward_shard, row.attempts) == ("PENDING", forward_shard(event.event_id), 0)
    assert before <= row.pending_since <= await storage.now()
    (entry,) = attempt_history.decode(row.history)
    assert entry.kind is HistoryKind.FORWARD
    assert entry.at is not None
    assert before <= entry.at <= row.pending_since
    claimed = await storage.ledger.claim([event.event_id], token="worker", seconds=60)
    assert claimed[event.event_id].outcome is ClaimOutcome.CLAIMED


async def test_an_admitted_event_is_the_reconcilers_where_nobody_publishes_it(storage: Storage) -> None:
    event = await stored(storage)
    await storage.late.admit([event.event_id])
    await storage.time_passes(0.001)

    shard = forward_shard(event.event_id)
    page = await storage.republishing.unpublished(shard=shard, after=None, older_than_seconds=0, limit=9)

    assert page.event_ids == [event.event_id]
    (marked,) = await storage.republishing.mark_republished(page.event_ids, intervals=(60,))
    assert marked.event == event


async def test_the_log_still_says_that_it_was_not_to_be_forwarded(storage: Storage) -> None:
    event = await stored(storage)
    before = await storage.logged(event.event_id)

    await storage.late.admit([event.event_id])

    assert await storage.logged(event.event_id) == before
    assert before is not None
    assert before.forward_to_statsig is False


async def test_what_has_a_ledger_row_is_told_apart_and_not_changed(storage: Storage) -> None:
    pending, delivered, dead = [await stored(storage) for _ in range(3)]
    await storage.late.admit([pending.event_id, delivered.event_id, dead.event_id])
    at = await storage.now()
    await storage.ledger.settle_delivered([DeliveryRecord(delivered.event_id, 1, 0, at, "http_202", 202, ())])
    await storage.ledger.claim([dead.event_id], token="worker", seconds=60)
    await storage.ledger.settle_dead([DeliveryRecord(dead.event_id, 1, 0, at, "http_400", 400, ())], token="worker")
    ids = [pending.event_id, delivered.event_id, dead.event_id]
    before = [await storage.ledger_row(event_id) for event_id in ids]

    found = await storage.late.admit(ids)

    assert found == {
        pending.event_id: Admitted(Admission.PENDING, pending),
        delivered.event_id: Admitted(Admission.SETTLED),
        dead.event_id: Admitted(Admission.SETTLED),
    }
    assert [await storage.ledger_row(event_id) for event_id in ids] == before


async def test_an_event_whose_ledger_row_may_have_been_deleted_is_not_admitted(storage: Storage) -> None:
    """It may have been forwarded and delivered before; the row that says so is kept for a while only."""
    old, young = await stored(storage), await stored(storage)
    now = await storage.now()
    await storage.set_ingested_at(old.event_id, now - LEDGER_RETENTION)
    await storage.set_ingested_at(young.event_id, now - LEDGER_RETENTION + HOUR)

    found = await storage.late.admit([old.event_id, young.event_id])

    assert found[old.event_id] == Admitted(Admission.TOO_OLD)
    assert found[young.event_id].found is Admission.ADMITTED
    assert await storage.ledger_row(old.event_id) is None


async def test_what_makes_no_event_is_not_admitted_and_harms_no_other(storage: Storage) -> None:
    broken = await stored(storage, metadata_json="[1]")
    gone, good = await stored(storage), await stored(storage)
    await storage.delete(gone.event_id)
    never = str(uuid.uuid4())

    found = await storage.late.admit([broken.event_id, gone.event_id, never, good.event_id])

    assert {event_id: each.found for event_id, each in found.items()} == {
        broken.event_id: Admission.UNREADABLE,
        gone.event_id: Admission.MISSING,
        never: Admission.MISSING,
        good.event_id: Admission.ADMITTED,
    }
    assert await storage.ledger_row(broken.event_id) is None


async def test_of_two_at_once_one_admits(storage: Storage) -> None:
    ids = [(await stored(storage)).event_id for _ in range(3)]
    found: list[Admitted] = []

    async def admit_with(ledger: LateForwardLedger) -> None:
        found.extend((await ledger.admit(ids)).values())

    async with anyio.create_task_group() as tasks:
        for ledger in (storage.late, await storage.another_late_ledger()):
            tasks.start_soon(admit_with, ledger)

    assert sorted(each.found for each in found) == [*[Admission.ADMITTED] * 3, *[Admission.PENDING] * 3]


async def test_nothing_to_admit_is_no_error(storage: Storage) -> None:
    assert await storage.late.admit([]) == {}
