"""What every DeadLetterTable finds: open letters by order, filter and subject, their counts, and mismatches."""

import uuid
from datetime import timedelta

import pytest

from shared.events.dead_letter_table import Closing, LetterChoice, LetterCount, LetterKind, Mismatch
from tests.support.emulators.dead_letters import AT, EVERYTHING, dead_event, letter, logged, poison
from tests.support.emulators.storages import Storage


async def test_open_letters_come_oldest_first_or_newest_first_and_no_more_than_asked_for(storage: Storage) -> None:
    letters = [letter(at=AT + timedelta(hours=number)) for number in (2, 0, 1)]
    await storage.letters.collect(letters)
    ids = [letters[number].message_id for number in (1, 2, 0)]

    assert [each.message_id for each in await storage.letters.open(EVERYTHING)] == ids
    assert [each.message_id for each in await storage.letters.open(EVERYTHING, newest=True)] == ids[::-1]
    assert [each.message_id for each in await storage.letters.open(EVERYTHING, limit=2)] == ids[:2]
    assert [each.message_id for each in await storage.letters.open(EVERYTHING, limit=1, newest=True)] == ids[2:]


@pytest.mark.parametrize("newest", [False, True], ids=["oldest first", "newest first"])
@pytest.mark.parametrize("by_id", [False, True], ids=["all", "by id"])
async def test_pages_have_every_letter_once_also_those_of_one_moment(
    storage: Storage, *, newest: bool, by_id: bool
) -> None:
    letters = [letter(at=AT + timedelta(seconds=second)) for second in (0, 1, 1, 1, 2)]
    await storage.letters.collect(letters)
    choice = LetterChoice(subjects=[each.subject for each in letters]) if by_id else EVERYTHING
    found: list[str] = []
    after = None

    while page := await storage.letters.open(choice, limit=2, newest=newest, after=after):
        found += [each.subject for each in page]
        after = (page[-1].dead_at, page[-1].subject)

    in_order = sorted(letters, key=lambda each: (each.dead_at, each.subject), reverse=newest)
    assert found == [each.subject for each in in_order]


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


async def test_it_is_told_where_ledger_and_letters_differ(storage: Storage) -> None:
    lost, also_lost, whole = [await dead_event(storage) for _ in range(3)]
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
