"""What every RepublishLedger does with marks: a row belongs to one reconciler for an interval, then it is due again.

One module, although a long one: the tests share their intervals, and each is a case of the same row.
"""

import uuid
from datetime import timedelta
from typing import Any

import anyio
import pytest

from shared.events.forward_ledger import ClaimOutcome, DeliveryRecord
from shared.events.republish_ledger import Marked, Reached
from shared.events.timestamps import EARLIEST_NANOS, LATEST_NANOS
from tests.support.emulators.claiming import LONG, SHORT, attempt, row_of, token
from tests.support.emulators.republishing import AGE, HELD, NEVER, SHARD, due, logged, mark, seconds_between
from tests.support.emulators.storages import Storage
from tests.support.sample_events import sample_event, sample_row


async def test_a_mark_is_counted_and_says_when_the_row_is_due_again(storage: Storage) -> None:
    event_id = await logged(storage)
    before = await storage.now()
    first = await storage.republishing.mark_republished([event_id], intervals=NEVER)
    marked_at = (await row_of(storage, event_id)).republished_at

    again = await storage.republishing.mark_republished([event_id], intervals=NEVER, force=True)

    assert [(each.event_id, each.republished, each.before) for each in first] == [(event_id, 1, None)]
    assert [(each.event_id, each.republished, each.before) for each in again] == [(event_id, 2, marked_at)]
    assert marked_at is not None
    assert before <= marked_at <= await storage.now()
    assert (await row_of(storage, event_id)).republished == 2


async def test_the_interval_grows_and_the_last_one_stays(storage: Storage) -> None:
    event_id = await logged(storage)
    found = []
    for _ in range(4):
        await storage.republishing.mark_republished([event_id], intervals=(60, 600, 3600), force=True)
        found.append(seconds_between(await row_of(storage, event_id)))

    assert found == [pytest.approx(seconds, abs=1) for seconds in (60, 600, 3600, 3600)]


async def test_what_is_marked_is_nobodys_until_it_is_due_again(storage: Storage) -> None:
    first, second = await logged(storage), await logged(storage)

    assert await mark(storage, first, second, interval=AGE) == [first, second]

    assert await mark(storage, first, second) == []
    assert await due(storage) == []
    await storage.time_passes(AGE)
    assert set(await due(storage)) == {first, second}
    assert len(await due(storage, limit=1)) == 1
    assert await mark(storage, first) == [first]
    assert await due(storage) == [second]


async def test_the_longest_due_come_first_and_only_of_the_shard(storage: Storage) -> None:
    first, second, other = await logged(storage), await logged(storage), await logged(storage, shard=SHARD + 1)
    for event_id in (second, other, first):
        await mark(storage, event_id, interval=0.001)
        await storage.time_passes(0.001)

    assert await due(storage) == [second, first]


async def test_of_several_that_mark_at_once_each_row_is_one_ones(storage: Storage) -> None:
    event_ids = [await logged(storage) for _ in range(10)]
    ledgers = [storage.republishing, *[await storage.another_republishing() for _ in range(2)]]
    found: list[Marked] = []

    async def work(number: int) -> None:
        mine = event_ids[number:] + event_ids[:number]  # each in its own order, which must not matter
        found.extend(await ledgers[number % 3].mark_republished(mine, intervals=NEVER))

    async with anyio.create_task_group() as tasks:
        for number in range(6):
            tasks.start_soon(work, number)

    assert sorted(each.event_id for each in found) == sorted(event_ids)
    assert {each.republished for each in found} == {1}


async def test_marks_come_in_the_order_asked_for_and_each_once(storage: Storage) -> None:
    event_ids = [await logged(storage) for _ in range(5)]

    assert await mark(storage, *event_ids, event_ids[0]) == event_ids


async def test_what_a_worker_holds_comes_back_after_its_claim(storage: Storage) -> None:
    live, expiring, released = [await logged(storage) for _ in range(3)]
    ours = token()
    await storage.ledger.claim([live, released], token=ours, seconds=LONG)
    await storage.ledger.claim([expiring], token=ours, seconds=HELD)
    await storage.ledger.release([DeliveryRecord(released, 0, 0, None, "not_sent", None, ())], token=ours)
    held = [await row_of(storage, event_id) for event_id in (live, expiring)]

    assert await mark(storage, live, expiring, released, interval=AGE) == [released]
    assert await mark(storage, live, force=True) == []

    for row in held:
        now = await row_of(storage, row.event_id)
        assert (now.claim_token, now.republished, now.republished_at) == (ours, 0, None)
        assert now.again_at is not None
        assert row.claimed_until is not None
        assert (now.again_at - row.claimed_until).total_seconds() == pytest.approx(AGE, abs=0.001)
    await storage.time_passes(HELD + AGE + 0.02)
    assert expiring in await due(storage)
    assert live not in await due(storage)
    assert await mark(storage, expiring, live) == [expiring]


async def test_a_suspect_that_waits_comes_back_after_its_wait(storage: Storage) -> None:
    event_id, ours = await logged(storage), token()
    await storage.ledger.claim([event_id], token=ours, seconds=LONG)
    await storage.ledger.release([attempt(event_id, wait_seconds=HELD)], token=ours)

    assert await mark(storage, event_id, interval=SHORT) == []
    assert await mark(storage, event_id, force=True) == []

    assert await due(storage) == []
    await storage.time_passes(HELD + SHORT + 0.02)
    assert await due(storage) == [event_id]
    assert await mark(storage, event_id) == [event_id]


async def test_what_is_due_later_keeps_its_time_although_it_is_held(storage: Storage) -> None:
    event_id = await logged(storage)
    await mark(storage, event_id)
    await storage.ledger.claim([event_id], token=token(), seconds=LONG)
    before = await row_of(storage, event_id)

    assert await mark(storage, event_id, force=True) == []

    assert await row_of(storage, event_id) == before


async def test_a_mark_does_not_disturb_a_claim_of_later(storage: Storage) -> None:
    event_id, ours = await logged(storage), token()
    await mark(storage, event_id)

    entry = (await storage.ledger.claim([event_id], token=ours, seconds=60))[event_id]

    assert entry.outcome is ClaimOutcome.CLAIMED
    assert (await row_of(storage, event_id)).republished == 1


@pytest.mark.parametrize("ending", ["settle_delivered", "settle_late", "settle_dead"])
async def test_what_is_settled_is_not_due_again(storage: Storage, ending: str) -> None:
    event_id, ours = await logged(storage), token()
    await mark(storage, event_id, interval=0.001)
    await storage.ledger.claim([event_id], token=ours, seconds=LONG)

    if ending == "settle_dead":
        await storage.ledger.settle_dead([attempt(event_id)], token=ours)
    else:
        await storage.ledger.settle_delivered(
            [attempt(event_id)], token="an earlier one" if ending == "settle_late" else ours
        )

    await storage.time_passes(0.01)
    assert await due(storage) == []
    assert (await row_of(storage, event_id)).again_at is None


async def test_what_is_put_back_is_due_at_once_and_was_never_marked(storage: Storage) -> None:
    once, twice = await logged(storage), await logged(storage)
    await mark(storage, twice)
    first_mark = (await row_of(storage, twice)).republished_at
    marked = await storage.republishing.mark_republished([once, twice], intervals=NEVER, force=True)

    await storage.republishing.put_back(marked)

    await storage.time_passes(0.001)
    assert set(await due(storage)) == {once, twice}
    row = await row_of(storage, once)
    assert (row.republished, row.republished_at) == (0, None)
    row = await row_of(storage, twice)
    assert (row.republished, row.republished_at) == (1, first_mark)


async def test_what_was_settled_deleted_or_marked_since_is_not_put_back(storage: Storage) -> None:
    settled, deleted, another = [await logged(storage) for _ in range(3)]
    marked = await storage.republishing.mark_republished([settled, deleted, another], intervals=NEVER)
    await storage.ledger.settle_delivered([attempt(settled)])
    await storage.delete(deleted)
    await mark(storage, another, force=True)
    before = [await row_of(storage, event_id) for event_id in (settled, another)]

    await storage.republishing.put_back(marked)

    assert [await row_of(storage, event_id) for event_id in (settled, another)] == before


async def test_what_is_gone_spoils_nothing(storage: Storage) -> None:
    kept, deleted = await logged(storage), await logged(storage)
    await storage.delete(deleted)

    assert await mark(storage, deleted, kept, str(uuid.uuid4())) == [kept]
    assert await mark(storage) == []
    await storage.republishing.put_back([])


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
        pytest.param({"traceparent": f"00-{'a' * 32}-{'b' * 16}-01"}, id="traced"),
    ],
)
async def test_a_marked_event_equals_the_one_that_was_logged(storage: Storage, fields: dict[str, Any]) -> None:
    event = sample_event(**{"name": "order_paid", **fields})
    await storage.repository.append([sample_row(event)])

    (marked,) = await storage.republishing.mark_republished([event.event_id], intervals=NEVER)

    assert marked.event == event


@pytest.mark.parametrize("metadata_json", ["[]", '[{"a":1}]', "null", "7", '"text"', "true"])
async def test_a_row_of_which_no_event_can_be_made_is_marked_and_spoils_nothing(
    storage: Storage, metadata_json: str
) -> None:
    bad, good = sample_event(), sample_event()
    await storage.repository.append([sample_row(bad, metadata_json=metadata_json), sample_row(good)])

    marked = await storage.republishing.mark_republished([bad.event_id, good.event_id], intervals=NEVER)

    assert [(each.event_id, each.event) for each in marked] == [(bad.event_id, None), (good.event_id, good)]


async def test_metadata_without_anything_in_it_is_an_event(storage: Storage) -> None:
    event = sample_event(metadata={})
    await storage.repository.append([sample_row(event, metadata_json="{}")])

    (marked,) = await storage.republishing.mark_republished([event.event_id], intervals=NEVER)

    assert marked.event == event


async def test_with_a_choice_only_chosen_events_are_marked(storage: Storage) -> None:
    chosen, other = await logged(storage), await logged(storage)

    marked = await storage.republishing.mark_republished(
        [chosen, other], intervals=NEVER, force=True, chosen=lambda event: event.event_id == chosen
    )

    assert [each.event_id for each in marked] == [chosen]
    row = await storage.ledger_row(other)
    assert row is not None
    assert (row.republished, row.again_at) == (0, None)


async def test_with_force_a_claimed_row_that_was_to_wait_long_is_due_soon_after_its_claim(storage: Storage) -> None:
    event_id = await logged(storage)
    await storage.republishing.mark_republished([event_id], intervals=[86_400])
    await storage.ledger.claim([event_id], token="worker", seconds=60)

    assert await storage.republishing.mark_republished([event_id], intervals=[30]) == []
    assert await storage.republishing.mark_republished([event_id], intervals=[30], force=True) == []

    row = await storage.ledger_row(event_id)
    assert row is not None
    assert row.again_at is not None
    assert row.claimed_until is not None
    assert row.again_at - row.claimed_until == timedelta(seconds=30)


async def test_a_row_whose_message_is_still_to_come_is_not_marked_and_comes_back(storage: Storage) -> None:
    before = Reached(await storage.now(), longest=timedelta(seconds=60))
    event_id = await logged(storage)

    marked = await storage.republishing.mark_republished([event_id], intervals=[60, AGE], reached=before)

    assert marked == []
    assert (await row_of(storage, event_id)).republished == 0
    await storage.time_passes(AGE + 0.01)
    assert await due(storage) == [event_id]
    now = Reached(await storage.now(), longest=timedelta(seconds=60))
    (marked_row,) = await storage.republishing.mark_republished([event_id], intervals=[60, AGE], reached=now)
    assert marked_row.republished == 1


async def test_the_latest_message_of_a_row_counts_and_is_waited_for_so_long_at_most(storage: Storage) -> None:
    event_id = await logged(storage)
    await storage.time_passes(0.01)
    between = await storage.now()
    assert await mark(storage, event_id, interval=AGE) == [event_id]
    await storage.time_passes(AGE + 0.01)

    async def marked_again(longest: timedelta) -> bool:
        reached = Reached(between, longest)
        return bool(await storage.republishing.mark_republished([event_id], intervals=[60, 0.0], reached=reached))

    assert not await marked_again(longest=timedelta(seconds=60))
    assert await marked_again(longest=timedelta(seconds=AGE))
