"""What every ForwardLedger lists as pending, for the reconciler."""

import uuid
from datetime import UTC, datetime
from typing import Any

import pytest

from shared.forward_ledger import FORWARD_SHARDS, Attempt, forward_shard
from shared.timestamps import EARLIEST_NANOS, LATEST_NANOS
from tests.support.sample_events import in_shard, sample_event, sample_row
from tests.support.storages import Storage

AT = datetime(2026, 3, 4, 5, 6, 7, 891_011, UTC)
AGE = 0.1


def token() -> str:
    return str(uuid.uuid4())


async def logged(storage: Storage, shard: int = 3) -> str:
    event_id = in_shard(shard)
    await storage.repository.append([sample_row(event_id=event_id)])
    return event_id


async def pending(storage: Storage, *, shard: int = 3, age: float = 0.0, limit: int = 100) -> list[str]:
    found = await storage.ledger.pending(shard=shard, older_than_seconds=age, limit=limit)
    return [event.event_id for event in found]


async def test_pending_events_come_oldest_first_and_no_more_than_asked_for(storage: Storage) -> None:
    event_ids = []
    for _ in range(4):
        event_ids.append(await logged(storage))
        await storage.time_passes(0.001)

    assert await pending(storage) == event_ids
    assert await pending(storage, limit=2) == event_ids[:2]


async def test_only_what_is_older_than_asked_for_is_listed(storage: Storage) -> None:
    old = await logged(storage)
    assert await pending(storage, age=AGE) == []

    await storage.time_passes(AGE + 0.01)
    await logged(storage)

    assert await pending(storage, age=AGE) == [old]
    assert await pending(storage, age=60) == []


async def test_each_shard_lists_its_own_and_all_shards_together_everything(storage: Storage) -> None:
    rows = [sample_row() for _ in range(40)]
    await storage.repository.append(rows)
    await storage.time_passes(0.001)

    by_shard = [await pending(storage, shard=shard) for shard in range(FORWARD_SHARDS)]

    assert sorted(event_id for event_ids in by_shard for event_id in event_ids) == sorted(
        row.event.event_id for row in rows
    )
    for shard, event_ids in enumerate(by_shard):
        assert {forward_shard(event_id) for event_id in event_ids} <= {shard}


async def test_what_is_settled_or_not_to_be_forwarded_is_not_listed(storage: Storage) -> None:
    delivered, dead = await logged(storage), await logged(storage)
    await storage.repository.append([sample_row(event_id=in_shard(3), forward=False)])
    await storage.ledger.settle_delivered([Attempt(delivered, 1, 0, AT, "http_202", 202, ())])
    ours = token()
    await storage.ledger.claim([dead], token=ours, seconds=60)
    await storage.ledger.settle_dead([Attempt(dead, 1, 0, AT, "http_400", 400, ())], token=ours)
    await storage.time_passes(0.001)

    assert await pending(storage) == []


async def test_a_live_claim_keeps_an_event_out_and_an_expired_one_does_not(storage: Storage) -> None:
    live, expiring, released = [await logged(storage) for _ in range(3)]
    ours = token()
    await storage.ledger.claim([live, released], token=ours, seconds=60)
    await storage.ledger.claim([expiring], token=ours, seconds=AGE)
    await storage.ledger.release([Attempt(released, 0, 0, None, "not_sent", None, ())], token=ours)
    await storage.time_passes(0.001)
    assert await pending(storage) == [released]

    await storage.time_passes(AGE + 0.01)

    assert set(await pending(storage)) == {expiring, released}


async def test_what_was_republished_is_left_out_for_ten_times_as_long(storage: Storage) -> None:
    first, second = await logged(storage), await logged(storage)
    await storage.time_passes(AGE + 0.01)

    await storage.ledger.note_republished([first])

    assert await pending(storage, age=AGE) == [second]
    await storage.time_passes(AGE * 5)
    assert await pending(storage, age=AGE) == [second]
    await storage.time_passes(AGE * 5 + 0.01)
    assert set(await pending(storage, age=AGE)) == {first, second}
    row = await storage.ledger_row(first)
    assert row is not None
    assert row.republished_at is not None


async def test_noting_a_republication_of_what_is_gone_spoils_nothing(storage: Storage) -> None:
    kept, deleted = await logged(storage), await logged(storage)
    await storage.delete(deleted)

    await storage.ledger.note_republished([deleted, kept, str(uuid.uuid4())])
    await storage.ledger.note_republished([])

    row = await storage.ledger_row(kept)
    assert row is not None
    assert row.republished_at is not None
    assert await storage.ledger_row(deleted) is None


async def test_a_republication_does_not_disturb_a_claim(storage: Storage) -> None:
    event_id, ours = await logged(storage), token()
    await storage.ledger.claim([event_id], token=ours, seconds=60)

    await storage.ledger.note_republished([event_id])

    row = await storage.ledger_row(event_id)
    assert row is not None
    assert row.claim_token == ours


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({}, id="typical"),
        pytest.param({"event_type": None, "actor_id": None, "metadata": {}}, id="NULLs"),
        pytest.param({"name": "支払い🦜", "metadata": {"ключ": ["é", "e\u0301", "\u2028", '"\\/\t']}}, id="unicode"),
        pytest.param({"event_ts_nanos": EARLIEST_NANOS}, id="earliest time"),
        pytest.param({"event_ts_nanos": EARLIEST_NANOS + 1_999}, id="nanoseconds in the first microseconds"),
        pytest.param({"event_ts_nanos": -1}, id="a nanosecond before 1970"),
        pytest.param({"event_ts_nanos": 1_763_000_000_000_000_001}, id="a nanosecond after a second"),
        pytest.param({"event_ts_nanos": LATEST_NANOS}, id="latest time"),
        pytest.param({"metadata": {"a": 0, "b": -1, "c": 0.1, "d": 1.5e300, "e": 5e-324}}, id="numbers"),
        pytest.param({"metadata": {"a": 9007199254740991, "b": 1e21, "c": -1.7976931348623157e308}}, id="large"),
        pytest.param({"metadata": {"a": True, "b": None, "c": {}, "d": [], "e": {"f": [[{}]]}}}, id="structure"),
    ],
)
async def test_a_pending_event_equals_the_one_that_was_logged(storage: Storage, fields: dict[str, Any]) -> None:
    event = sample_event(**{"name": "order_paid", "event_id": in_shard(5), **fields})
    await storage.repository.append([sample_row(event)])
    await storage.time_passes(0.001)

    assert await storage.ledger.pending(shard=5, older_than_seconds=0, limit=10) == [event]


async def test_the_oldest_pending_event_of_all_shards_tells_the_age(storage: Storage) -> None:
    assert await storage.ledger.oldest_pending_seconds() is None

    oldest = await logged(storage, shard=15)
    await storage.time_passes(AGE)
    await logged(storage, shard=0)
    both = await storage.ledger.oldest_pending_seconds()
    await storage.ledger.settle_delivered([Attempt(oldest, 1, 0, AT, "http_202", 202, ())])
    younger = await storage.ledger.oldest_pending_seconds()

    assert both is not None
    assert younger is not None
    assert both >= AGE > 0
    assert 0 <= younger < both


async def test_an_event_keeps_the_trace_it_was_logged_under(storage: Storage) -> None:
    traceparent = f"00-{'a' * 32}-{'b' * 16}-01"
    event_id = in_shard(3)
    await storage.repository.append([sample_row(sample_event(event_id=event_id, traceparent=traceparent))])
    await storage.time_passes(0.001)

    (event,) = await storage.ledger.pending(shard=3, older_than_seconds=0, limit=10)

    assert event.traceparent == traceparent
    assert event.metadata == {"amount": 12.5}
