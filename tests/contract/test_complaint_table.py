"""What every ComplaintTable does: counts replace those before them, and are summed over processes and hours."""

import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from shared.events.complaints import (
    MAX_CALLER,
    MAX_NAME,
    MAX_REASON,
    OTHER,
    Complaint,
    ComplaintChoice,
    ComplaintKind,
    ComplaintSums,
    HourlyCount,
    KindTotal,
)
from tests.support.emulators.storages import Storage

WARNING, REFUSAL = ComplaintKind.WARNING, ComplaintKind.REFUSAL
HOUR = datetime(2026, 3, 4, 5, tzinfo=UTC)
A = Complaint(WARNING, "checkout@example.com", "order_paid", "metadata.note:statsig_metadata_cut")
B = Complaint(REFUSAL, "checkout@example.com", "", "malformed_request")
C = Complaint(REFUSAL, "search@example.com", "searched", "event_name:max_length")
REST_OF_CALLER = Complaint(REFUSAL, "checkout@example.com", OTHER, "event_name:max_length")
REST = Complaint(REFUSAL, OTHER, OTHER, OTHER)


def process() -> str:
    return str(uuid.uuid4())


def count(complaint: Complaint, events: int, *, place: int = 0, hour: datetime = HOUR) -> HourlyCount:
    return HourlyCount(hour, place, complaint, events)


ALL = ComplaintChoice(since=HOUR)


async def summed(storage: Storage, choice: ComplaintChoice = ALL, *, limit: int = 50) -> ComplaintSums:
    return await storage.complaints.summed(choice, limit=limit)


async def test_an_empty_table_has_neither_complaints_nor_totals(storage: Storage) -> None:
    assert await summed(storage) == ComplaintSums([], {})


async def test_a_count_replaces_the_one_before_also_with_another_complaint(storage: Storage) -> None:
    one = process()
    await storage.complaints.write(one, [count(A, 3), count(B, 1, place=1)])
    await storage.complaints.write(one, [count(A, 5)])
    await storage.complaints.write(one, [count(C, 2, place=1)])

    assert (await summed(storage)).most_frequent == [(A, 5), (C, 2)]


async def test_processes_hours_and_places_add_up(storage: Storage) -> None:
    for _ in range(20):  # of several shards
        await storage.complaints.write(process(), [count(A, 10)])
    one = process()
    await storage.complaints.write(one, [count(B, 7), count(C, 2, place=1)])
    await storage.complaints.write(one, [count(C, 4, hour=HOUR + timedelta(hours=1))])

    found = await summed(storage)

    assert found.most_frequent == [(A, 200), (B, 7), (C, 6)]
    assert found.totals == {WARNING: KindTotal(200, 0, 1), REFUSAL: KindTotal(13, 0, 2)}


async def test_hours_before_that_of_the_time_are_left_out_and_its_own_is_whole(storage: Storage) -> None:
    one = process()
    await storage.complaints.write(one, [count(A, 1, hour=HOUR - timedelta(hours=1))])
    await storage.complaints.write(one, [count(A, 20)])

    assert (await summed(storage, ComplaintChoice(since=HOUR + timedelta(minutes=59)))).most_frequent == [(A, 20)]
    assert (await summed(storage, ComplaintChoice(since=HOUR + timedelta(hours=1)))).most_frequent == []


async def test_only_some_are_listed_but_totals_are_of_all(storage: Storage) -> None:
    await storage.complaints.write(
        process(), [count(A, 5), count(B, 9, place=1), count(C, 5, place=2), count(REST, 100, place=3)]
    )

    found = await summed(storage, limit=2)

    assert found.most_frequent == [(REST, 100), (B, 9)]
    assert found.totals == {WARNING: KindTotal(5, 0, 1), REFUSAL: KindTotal(114, 100, 3)}


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (replace(ALL, kind=WARNING), {A}),
        (replace(ALL, kind=REFUSAL), {B, C, REST_OF_CALLER, REST}),
        (replace(ALL, caller="checkout@example.com"), {A, B, REST_OF_CALLER, REST}),
        (replace(ALL, event_name="searched"), {C, REST_OF_CALLER, REST}),
        (replace(ALL, event_name="", kind=REFUSAL), {B, REST_OF_CALLER, REST}),
        (replace(ALL, caller="nobody@example.com", event_name="order_paid", kind=WARNING), set()),
    ],
)
async def test_choices_hold_together_and_keep_what_may_be_among_the_rest(
    storage: Storage, choice: ComplaintChoice, expected: set[Complaint]
) -> None:
    counts = [count(each, 1, place=place) for place, each in enumerate((A, B, C, REST_OF_CALLER, REST))]
    await storage.complaints.write(process(), counts)

    found = await summed(storage, choice)

    assert {each for each, _ in found.most_frequent} == expected
    assert sum(total.lines for total in found.totals.values()) == len(expected)


async def test_the_longest_texts_fit(storage: Storage) -> None:
    longest = Complaint(REFUSAL, "ä" * MAX_CALLER, "\N{GRINNING FACE}" * MAX_NAME, "r'" * (MAX_REASON // 2))
    await storage.complaints.write(process(), [count(longest, 2**40)])

    assert (await summed(storage, replace(ALL, caller=longest.caller))).most_frequent == [(longest, 2**40)]
