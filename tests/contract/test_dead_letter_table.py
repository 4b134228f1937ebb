"""What every DeadLetterTable does with letters: keeps each once, one open for each subject, and closes them."""

import uuid
from dataclasses import replace
from datetime import timedelta

import pytest

from shared.events.dead_letter_table import Closing, LetterKind
from shared.events.forward_ledger import DeliveryRecord
from shared.events.replay_ledger import ReopenOutcome
from tests.support.emulators.dead_letters import AT, EVERYTHING, all_of, dead_event, letter, logged, poison
from tests.support.emulators.storages import Storage


async def test_a_letter_is_kept_as_it_came_with_the_caller_of_its_event(storage: Storage) -> None:
    event = await logged(storage, caller="o'brien@example.com")
    before = await storage.now()

    assert await storage.letters.collect([mine := letter(event)]) == 1

    (kept,) = await all_of(storage, event.event_id)
    assert kept == replace(mine, caller="o'brien@example.com", collected_at=kept.collected_at)
    assert kept.collected_at is not None
    assert before <= kept.collected_at <= await storage.now()


async def test_any_bytes_and_any_attributes_are_kept(storage: Storage) -> None:
    odd = poison(data=bytes(range(256)), attributes={"": "", "k\x00": "\N{GRINNING FACE}", "event_id": "no id"})

    await storage.letters.collect([odd])

    (kept,) = await all_of(storage, odd.subject)
    assert (kept.data, kept.attributes, kept.caller) == (odd.data, odd.attributes, None)


async def test_what_does_not_fit_a_column_is_cut_and_not_refused(storage: Storage) -> None:
    odd = poison(reason="r" * 1000, event_id="e" * 1000, event_name="n" * 1000)

    await storage.letters.collect([odd])

    (kept,) = await all_of(storage, odd.subject)
    assert odd.reason.startswith(kept.reason)
    assert len(kept.reason) >= 64


async def test_a_letter_that_comes_again_is_kept_once_and_as_it_was(storage: Storage) -> None:
    event = await dead_event(storage)
    mine = letter(event)
    await storage.letters.collect([mine])
    await storage.letters.close([event.event_id], Closing.DISCARDED)

    assert await storage.letters.collect([mine, mine]) == 0

    (kept,) = await all_of(storage, event.event_id)
    assert kept.closed_by is Closing.DISCARDED


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
async def test_of_one_subject_the_latest_is_open_in_whatever_order_they_come(
    storage: Storage, order: tuple[int, ...], at_once: bool
) -> None:
    event = await dead_event(storage)
    letters = [letter(event, at=AT + timedelta(seconds=number)) for number in range(3)]
    batches = [order] if at_once else [(number,) for number in order]

    for batch in batches:
        await storage.letters.collect([letters[number] for number in batch])

    kept = await all_of(storage, event.event_id)
    assert [each.closed_by for each in kept] == [Closing.SUPERSEDED, Closing.SUPERSEDED, None]
    assert [each.message_id for each in await storage.letters.open(EVERYTHING)] == [letters[2].message_id]


async def test_a_letter_of_an_event_that_was_delivered_is_closed_from_the_beginning(storage: Storage) -> None:
    event = await logged(storage)
    await storage.ledger.settle_delivered([DeliveryRecord(event.event_id, 1, 0, AT, "http_202", 202, ())])

    assert await storage.letters.collect([letter(event)]) == 1

    (kept,) = await all_of(storage, event.event_id)
    assert (kept.closed_by, kept.closed_at is not None) == (Closing.DELIVERED, True)


async def test_a_letter_from_before_a_replay_is_closed_and_one_from_after_is_open(storage: Storage) -> None:
    event = await dead_event(storage)
    await storage.replays.reopen([event.event_id], max_replays=3)

    now = await storage.now()
    await storage.letters.collect([letter(event, at=now - timedelta(hours=1))])
    await storage.letters.collect([letter(event, at=now + timedelta(seconds=1))])

    kept = await all_of(storage, event.event_id)
    assert [each.closed_by for each in kept] == [Closing.REPLAYED, None]


async def test_a_native_letter_of_a_pending_event_is_open(storage: Storage) -> None:
    event = await logged(storage)

    await storage.letters.collect([letter(event, kind=LetterKind.NATIVE, reason="native")])

    (found,) = await storage.letters.open(EVERYTHING)
    assert (found.kind, found.subject) == (LetterKind.NATIVE, event.event_id)


async def test_closing_closes_what_is_open_and_nothing_twice(storage: Storage) -> None:
    first, second = letter(), letter()
    await storage.letters.collect([first, second])
    before = await storage.now()

    assert await storage.letters.close([first.subject, str(uuid.uuid4())], Closing.DISCARDED) == 1
    assert await storage.letters.close([first.subject], Closing.REPLAYED) == 0

    (closed,) = await all_of(storage, first.subject)
    assert closed.closed_by is Closing.DISCARDED
    assert closed.closed_at is not None
    assert closed.closed_at >= before
    assert [each.subject for each in await storage.letters.open(EVERYTHING)] == [second.subject]


async def test_a_replay_closes_the_letter_in_the_same_transaction(storage: Storage) -> None:
    dead, other, delivered = [await dead_event(storage) for _ in range(3)]
    pending = await logged(storage)
    await storage.letters.collect([letter(each) for each in (dead, other, delivered, pending)])
    await storage.ledger.settle_delivered([DeliveryRecord(delivered.event_id, 1, 0, AT, "http_202", 202, ())])
    ids = [each.event_id for each in (dead, delivered, pending)]

    found = await storage.replays.reopen(ids, max_replays=3)
    again = await storage.replays.reopen(ids, max_replays=3)

    assert [each.had_letter for each in found.values()] == [True, True, True]
    assert [(each.found, each.had_letter) for each in again.values()] == [
        (ReopenOutcome.PENDING, False),
        (ReopenOutcome.DELIVERED, False),
        (ReopenOutcome.PENDING, False),
    ]
    closed_by = {each.subject: each.closed_by for ids in (await storage.letters.of(ids)).values() for each in ids}
    assert closed_by == {
        dead.event_id: Closing.REPLAYED,
        delivered.event_id: Closing.DELIVERED,
        pending.event_id: Closing.REPLAYED,
    }
    assert [each.subject for each in await storage.letters.open(EVERYTHING)] == [other.event_id]


async def test_a_replay_leaves_the_letter_of_what_it_leaves(storage: Storage) -> None:
    worn_out, in_work = await dead_event(storage), await logged(storage)
    await storage.letters.collect([letter(worn_out), letter(in_work)])
    await storage.ledger.claim([in_work.event_id], token="worker", seconds=60)
    ids = [worn_out.event_id, in_work.event_id]

    found = await storage.replays.reopen(ids, max_replays=0)

    assert [each.found for each in found.values()] == [ReopenOutcome.QUARANTINED, ReopenOutcome.IN_FLIGHT]
    assert {each.subject for each in await storage.letters.open(EVERYTHING)} == set(ids)
