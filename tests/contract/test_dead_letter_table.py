"""What every DeadLetterTable does: keeps each letter once, one open a subject, and answers exactly and completely."""

import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shared.events import forward_message
from shared.events.dead_letter_table import Closing, DeadLetterRow, LetterChoice, LetterCount, LetterKind, Mismatch
from shared.events.event import Event
from shared.events.forward_ledger import DeliveryRecord
from shared.events.replay_ledger import ReopenOutcome
from tests.support.emulators.storages import Storage
from tests.support.sample_events import sample_event, sample_row

AT = datetime(2026, 3, 4, 5, 6, 7, 891_011, UTC)
EVERYTHING = LetterChoice()


def letter(event: Event | None = None, *, at: datetime = AT, **fields: Any) -> DeadLetterRow:
    message = forward_message.encode(event or sample_event())
    event_id = message.attributes["event_id"]
    given: dict[str, Any] = {
        "subject": event_id,
        "message_id": uuid.uuid4().hex,
        "kind": LetterKind.REASONED,
        "reason": "http_400",
        "dead_at": at,
        "event_id": event_id,
        "event_name": message.attributes["event_name"],
        "data": message.data,
        "attributes": message.attributes | {"dead_letter_reason": "http_400"},
    }
    return DeadLetterRow(**(given | fields))


def poison(**fields: Any) -> DeadLetterRow:
    given: dict[str, Any] = {
        "subject": str(uuid.uuid4()),
        "kind": LetterKind.POISON,
        "reason": "undecodable",
        "event_id": None,
    }
    return letter(**(given | {"event_name": None, "data": b"\x00\xff", "attributes": {}} | fields))


async def logged(storage: Storage, **fields: Any) -> Event:
    event = sample_event()
    await storage.repository.append([replace(sample_row(event), **fields)])
    return event


async def died(storage: Storage) -> Event:
    event = await logged(storage)
    await bury(storage, event)
    return event


async def bury(storage: Storage, event: Event) -> None:
    await storage.ledger.claim([event.event_id], token="worker", seconds=60)
    await storage.ledger.settle_dead([DeliveryRecord(event.event_id, 1, 0, AT, "http_400", 400, ())], token="worker")


async def all_of(storage: Storage, subject: str) -> list[DeadLetterRow]:
    return (await storage.letters.of([subject])).get(subject, [])


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
    event = await died(storage)
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
    event = await died(storage)
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
    event = await died(storage)
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


async def test_open_letters_come_oldest_first_or_newest_first_and_no_more_than_asked_for(storage: Storage) -> None:
    letters = [letter(at=AT + timedelta(hours=number)) for number in (2, 0, 1)]
    await storage.letters.collect(letters)
    ids = [letters[number].message_id for number in (1, 2, 0)]

    assert [each.message_id for each in await storage.letters.open(EVERYTHING)] == ids
    assert [each.message_id for each in await storage.letters.open(EVERYTHING, newest=True)] == ids[::-1]
    assert [each.message_id for each in await storage.letters.open(EVERYTHING, limit=2)] == ids[:2]
    assert [each.message_id for each in await storage.letters.open(EVERYTHING, limit=1, newest=True)] == ids[2:]


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (LetterChoice(), {0, 1, 2}),
        (LetterChoice(reasons=["http_400", "native"]), {0, 2}),
        (LetterChoice(event_names=["signup"]), {1}),
        (LetterChoice(callers=["b@example.com"]), {1, 2}),
        (LetterChoice(callers=["b@example.com"], reasons=["native"]), {2}),
        (LetterChoice(dead_until=AT + timedelta(hours=1)), {0, 1}),
        (LetterChoice(dead_after=AT + timedelta(hours=1)), {2}),
        (LetterChoice(dead_after=AT, dead_until=AT + timedelta(hours=1)), {1}),
        (LetterChoice(subjects=[]), set()),
    ],
)
async def test_letters_are_chosen_by_every_filter_that_is_set(
    storage: Storage, choice: LetterChoice, expected: set[int]
) -> None:
    events = [await logged(storage, caller=caller) for caller in ("a@example.com", "b@example.com", "b@example.com")]
    letters = [
        letter(events[0], reason="http_400"),
        letter(events[1], reason="http_500", event_name="signup", at=AT + timedelta(hours=1)),
        letter(events[2], reason="native", kind=LetterKind.NATIVE, at=AT + timedelta(hours=2)),
    ]
    await storage.letters.collect(letters)
    wanted = {letters[number].message_id for number in expected}

    assert {each.message_id for each in await storage.letters.open(choice)} == wanted
    assert sum(each.letters for each in await storage.letters.count(choice, ages=[])) == len(expected)


async def test_letters_are_chosen_by_their_subjects(storage: Storage) -> None:
    letters = [letter() for _ in range(3)]
    await storage.letters.collect(letters)
    choice = LetterChoice(subjects=[letters[1].subject, str(uuid.uuid4())])

    assert [each.subject for each in await storage.letters.open(choice)] == [letters[1].subject]


async def test_open_letters_are_counted_by_all_that_they_have_in_common(storage: Storage) -> None:
    event = await logged(storage, caller="a@example.com")
    name = event.event_name
    others = [await logged(storage, caller="a@example.com") for _ in range(2)]
    hour = timedelta(hours=1)
    await storage.letters.collect([letter(event, at=AT), letter(others[0], at=AT + hour, event_name=name)])
    await storage.letters.collect([letter(others[1], at=AT - 5 * hour, event_name=name), poison(at=AT)])
    await storage.letters.collect([gone := letter()])
    await storage.letters.close([gone.subject], Closing.DISCARDED)

    found = await storage.letters.count(EVERYTHING, ages=[AT - hour, AT - 10 * hour])

    assert sorted(found, key=lambda each: (each.kind, each.age)) == [
        LetterCount(LetterKind.POISON, "undecodable", None, None, 0, 1, AT),
        LetterCount(LetterKind.REASONED, "http_400", name, "a@example.com", 0, 2, AT),
        LetterCount(LetterKind.REASONED, "http_400", name, "a@example.com", 1, 1, AT - 5 * hour),
    ]


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
    dead, other, delivered = [await died(storage) for _ in range(3)]
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
    worn_out, in_work = await died(storage), await logged(storage)
    await storage.letters.collect([letter(worn_out), letter(in_work)])
    await storage.ledger.claim([in_work.event_id], token="worker", seconds=60)
    ids = [worn_out.event_id, in_work.event_id]

    found = await storage.replays.reopen(ids, max_replays=0)

    assert [each.found for each in found.values()] == [ReopenOutcome.QUARANTINED, ReopenOutcome.IN_FLIGHT]
    assert {each.subject for each in await storage.letters.open(EVERYTHING)} == set(ids)


async def test_it_is_told_where_ledger_and_letters_differ(storage: Storage) -> None:
    lost, also_lost, whole = [await died(storage) for _ in range(3)]
    pending = await logged(storage)
    await storage.letters.collect([letter(whole), letter(pending), poison()])
    missing = sorted([lost.event_id, also_lost.event_id])

    assert await storage.letters.mismatch() == Mismatch(dead_without_letter=2, letters_without_dead=1)
    assert await storage.letters.dead_without_letter(limit=9) == missing
    assert await storage.letters.dead_without_letter(limit=1) == missing[:1]
    assert await storage.letters.dead_without_letter(after=missing[0], limit=9) == missing[1:]


async def test_nothing_asked_for_is_nothing_found(storage: Storage) -> None:
    assert await storage.letters.collect([]) == 0
    assert await storage.letters.of([]) == {}
    assert await storage.letters.close([], Closing.DISCARDED) == 0
    assert await storage.letters.mismatch() == Mismatch(0, 0)
