"""Complaints by the hour: bounded rows, totals that add up, and what is still to be written."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from ingress.complaints.hourly import CALLER_PLACES, MAX_UNWRITTEN_HOURS, NAMED_PLACES, HourlyComplaints
from shared.events.complaints import OTHER, Complaint, ComplaintKind, HourlyCount
from tests.support.fakes.manual_clock import ManualClock
from tests.support.wire.ingress import captured_log

MOST = NAMED_PLACES + CALLER_PLACES + len(ComplaintKind)


def complaint(
    name: str = "order_paid",
    *,
    kind: ComplaintKind = ComplaintKind.WARNING,
    caller: str = "checkout@example.com",
    reason: str = "metadata.note:statsig_metadata_cut",
) -> Complaint:
    return Complaint(kind, caller, name, reason)


def only_hour(complaints: HourlyComplaints) -> Sequence[HourlyCount]:
    (counts,) = complaints.unwritten()
    return counts


def write_all(complaints: HourlyComplaints) -> dict[tuple[datetime, int], HourlyCount]:
    """What a table would get."""
    rows = {(each.hour, each.place): each for counts in complaints.unwritten() for each in counts}
    for counts in complaints.unwritten():
        complaints.wrote(counts)
    return rows


def test_without_complaints_there_is_nothing_to_write() -> None:
    assert HourlyComplaints(ManualClock()).unwritten() == []


def test_what_is_written_is_not_written_again_until_it_changes() -> None:
    complaints = HourlyComplaints(ManualClock())
    complaints.note(complaint("a"), 2)
    complaints.note(complaint("b"))
    assert len(write_all(complaints)) == 2
    assert complaints.unwritten() == []

    complaints.note(complaint("b"), 3)

    (count,) = only_hour(complaints)
    assert (count.complaint, count.events) == (complaint("b"), 4)


def test_what_changes_while_it_is_written_is_written_again() -> None:
    complaints = HourlyComplaints(ManualClock())
    complaints.note(complaint())
    taken = only_hour(complaints)
    complaints.note(complaint())
    complaints.wrote(taken)

    assert [each.events for each in only_hour(complaints)] == [2]


def test_a_caller_with_ever_new_names_is_found_by_its_reason() -> None:
    complaints = HourlyComplaints(ManualClock())
    for index in range(1000):
        complaints.note(complaint(f"order_{index}_paid", reason=f"metadata.k{index}:statsig_metadata_cut"))

    by_caller = [each for each in only_hour(complaints) if each.complaint.event_name == OTHER]
    assert [(each.complaint.caller, each.complaint.reason, each.events) for each in by_caller] == [
        ("checkout@example.com", "metadata.*:statsig_metadata_cut", 1000 - NAMED_PLACES)
    ]


NOTES = st.lists(
    st.tuples(
        st.sampled_from(ComplaintKind), st.integers(0, 200), st.integers(0, 200), st.integers(1, 500), st.integers(0, 1)
    ),
    max_size=400,
)


@given(NOTES)
def test_rows_are_bounded_and_add_up_however_often_they_were_written_in_between(
    notes: list[tuple[ComplaintKind, int, int, int, int]],
) -> None:
    complaints = HourlyComplaints(ManualClock())
    table: dict[tuple[datetime, int], HourlyCount] = {}
    for kind, caller, name, events, is_written in notes:
        complaints.note(complaint(f"n{name}", kind=kind, caller=f"c{caller}"), events)
        if is_written:
            table |= write_all(complaints)
    table |= write_all(complaints)

    assert len(table) <= MOST
    for kind in ComplaintKind:
        expected = sum(events for each, _, _, events, _ in notes if each is kind)
        assert sum(each.events for each in table.values() if each.complaint.kind is kind) == expected


def test_rows_have_their_bound_under_a_flood_of_callers_and_names() -> None:
    complaints = HourlyComplaints(ManualClock())
    for index in range(2000):
        complaints.note(complaint(f"n{index}", caller=f"c{index}", kind=[*ComplaintKind][index % 2]))
    counts = only_hour(complaints)

    assert len({each.place for each in counts}) == len(counts) == MOST
    assert sum(each.events for each in counts) == 2000


def test_the_last_counts_of_an_hour_are_written_after_it() -> None:
    clock = ManualClock()
    complaints = HourlyComplaints(clock)
    complaints.note(complaint("a"))
    first = clock.now().replace(minute=0, second=0, microsecond=0)
    clock.advance(3600)
    complaints.note(complaint("b"))
    rows = write_all(complaints)

    assert {(each.hour, each.complaint.event_name) for each in rows.values()} == {
        (first, "a"),
        (first + timedelta(hours=1), "b"),
    }
    assert complaints.unwritten() == []


def test_counts_that_were_taken_before_the_hour_ended_do_not_stand_for_its_last_ones() -> None:
    clock = ManualClock()
    complaints = HourlyComplaints(clock)
    complaints.note(complaint())
    taken = only_hour(complaints)
    complaints.note(complaint())
    clock.advance(3600)
    complaints.note(complaint("next"))
    complaints.wrote(taken)

    past, _ = complaints.unwritten()
    assert [each.events for each in past] == [2]


def test_a_clock_that_is_set_back_begins_no_hour_again() -> None:
    clock = ManualClock()
    complaints = HourlyComplaints(clock)
    complaints.note(complaint("a"))
    clock.nanos -= 3600 * 10**9
    complaints.note(complaint("b"))

    assert len({each.hour for each in only_hour(complaints)}) == 1


def test_hours_that_could_not_be_written_are_kept_for_a_day_and_then_said_to_be_forgotten() -> None:
    clock = ManualClock()
    complaints = HourlyComplaints(clock)
    with captured_log() as log:
        for index in range(MAX_UNWRITTEN_HOURS + 2):
            complaints.note(complaint(), index + 1)
            clock.advance(3600)

    counts = [[each.events for each in hour] for hour in complaints.unwritten()]
    assert counts == [[events] for events in range(2, MAX_UNWRITTEN_HOURS + 3)]
    assert [line["events"] for line in log.lines("complaints_forgotten")] == [1]
