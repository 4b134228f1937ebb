"""Which events go into one request, how a failed one is divided, and how the size adapts."""

from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.events.statsig_projection import StatsigEvent
from worker.statsig.requests import (
    MAX_EVENTS,
    SEARCH_PARTS,
    RequestSize,
    UnserializableEventError,
    parts_of,
    split_into_requests,
    wire_size,
)


def event(number: int, value: str | float | None = None) -> StatsigEvent:
    return StatsigEvent(f"e-{number}", "order_paid", value, {"event_id": f"e-{number}"}, 1_700_000_000_000)


def batch(size: int) -> list[StatsigEvent]:
    return [event(number) for number in range(size)]


def test_requests_are_cut_by_count_and_by_size_in_order() -> None:
    size = wire_size(event(1))

    assert [len(chunk) for chunk in split_into_requests(batch(7), max_events=3)] == [3, 3, 1]
    assert [len(chunk) for chunk in split_into_requests(batch(7), max_bytes=2 * size)] == [2, 2, 2, 1]
    assert [each for chunk in split_into_requests(batch(7), max_events=3) for each in chunk] == batch(7)
    assert list(split_into_requests([])) == []


@pytest.mark.parametrize("value", ["x" * 5_000, float("nan")], ids=["too-large", "no-json-form"])
def test_an_event_that_cannot_share_a_request_goes_alone(value: str | float) -> None:
    odd = event(9, value)

    chunks = list(split_into_requests([event(1), odd, event(2), event(3)], max_bytes=2_000))

    assert chunks == [[event(1)], [odd], [event(2), event(3)]]


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), object(), 10**5_000], ids=["nan", "inf", "object", "huge"]
)
def test_an_event_without_a_json_form_has_no_size(value: float) -> None:
    with pytest.raises(UnserializableEventError):
        wire_size(event(1, value))


@given(st.integers(2, MAX_EVENTS))
def test_a_request_is_divided_into_a_few_parts_of_about_the_same_size(count: int) -> None:
    parts = parts_of(batch(count))

    assert list(chain.from_iterable(parts)) == batch(count)
    assert 2 <= len(parts) <= SEARCH_PARTS
    assert max(map(len, parts)) == -(-count // SEARCH_PARTS)


def test_few_events_are_divided_into_single_ones() -> None:
    assert parts_of(batch(SEARCH_PARTS)) == [[each] for each in batch(SEARCH_PARTS)]
    assert parts_of(batch(3)) == [[each] for each in batch(3)]


def test_a_request_begins_as_large_as_it_may_be_and_never_becomes_larger() -> None:
    size = RequestSize()
    assert size.events == MAX_EVENTS

    size.confirmed(MAX_EVENTS)

    assert size.events == MAX_EVENTS


def test_a_request_that_failed_cuts_the_size_to_that_of_its_parts_and_not_below_one() -> None:
    size = RequestSize()
    for expected in (62, 7, 1, 1):
        size.failed(size.events)
        assert size.events == expected


def test_a_smaller_request_that_failed_never_enlarges_it() -> None:
    size = RequestSize()
    size.failed(80)
    assert size.events == 10

    size.failed(400)

    assert size.events == 10


def test_only_a_request_of_full_size_that_is_confirmed_doubles_it() -> None:
    size = RequestSize()
    size.failed(80)

    size.confirmed(9)
    assert size.events == 10
    for expected in (20, 40, 80, 160, 320, MAX_EVENTS):
        size.confirmed(size.events)
        assert size.events == expected
