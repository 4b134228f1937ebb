"""The most frequent complaints: bounded places, honest counts, no event lost, and a flood hides nobody."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from ingress.complaints.frequent import Frequent
from shared.events.complaints import Complaint, ComplaintKind

PLACES = 4


def complaint(name: str) -> Complaint:
    return Complaint(ComplaintKind.REFUSAL, "checkout@example.com", name, "event_name:required")


class Counted:
    """A Frequent, what overflowed it, and the truth."""

    def __init__(self) -> None:
        self.lost: Counter[Complaint] = Counter()
        self.frequent = Frequent(PLACES, overflow=self._lose)
        self.truth: Counter[Complaint] = Counter()

    def _lose(self, each: Complaint, events: int) -> None:
        self.lost[each] += events

    def add(self, name: str, events: int = 1) -> None:
        self.frequent.add(complaint(name), events)
        self.truth[complaint(name)] += events

    @property
    def counts(self) -> dict[Complaint, int]:
        return {each: events for _, each, events in self.frequent}


STREAMS = st.lists(st.tuples(st.sampled_from("abcdefghij"), st.integers(1, 500)), max_size=60)


@given(STREAMS)
def test_counts_and_overflow_add_up_exactly_for_each_complaint(stream: list[tuple[str, int]]) -> None:
    counted = Counted()
    for name, events in stream:
        counted.add(name, events)

    assert Counter(counted.counts) + counted.lost == counted.truth


@given(STREAMS)
def test_whatever_exceeds_its_share_has_a_place_and_misses_no_more_than_that(stream: list[tuple[str, int]]) -> None:
    counted = Counted()
    for name, events in stream:
        counted.add(name, events)
    share = counted.truth.total() / PLACES

    for each, events in counted.truth.items():
        if events > share:
            assert counted.counts[each] >= events - share


@given(STREAMS)
def test_places_are_bounded_and_each_has_a_number_of_its_own(stream: list[tuple[str, int]]) -> None:
    counted = Counted()
    for name, events in stream:
        counted.add(name, events)

    numbers = [number for number, _, _ in counted.frequent]
    assert sorted(numbers) == list(range(min(PLACES, len(counted.truth))))


def test_a_flood_of_ever_new_names_does_not_displace_what_comes_all_the_time() -> None:
    counted = Counted()
    for index in range(300):
        counted.add(f"flood {index}")
        if index % 2 == 0:
            counted.add("steady")

    assert counted.counts[complaint("steady")] == 150


def test_what_has_become_frequent_gets_a_place_among_those_that_came_first() -> None:
    counted = Counted()
    for name in "abcd":
        counted.add(name)
    counted.add("late", 50)

    assert counted.counts[complaint("late")] == 50
    assert counted.lost.total() == 1


def test_what_comes_between_ever_new_names_gets_a_place_among_those_that_were_frequent_before() -> None:
    """Ranked by its own count alone it would lose its place to each new name, and never gather any."""
    counted = Counted()
    for name in "abcd" * 10:
        counted.add(name)
    for index in range(100):
        counted.add(f"flood {index}")
        counted.add("late")

    assert counted.counts[complaint("late")] >= 100 - counted.truth.total() / PLACES
