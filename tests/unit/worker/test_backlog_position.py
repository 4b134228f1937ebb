"""The backlog position: which messages tell how far a worker has come, and for how long."""

from datetime import timedelta

import pytest

from tests.support.fakes.manual_clock import ManualClock
from worker.backlog_position import MAX_MESSAGES, VALID_SECONDS, WINDOW_SECONDS, BacklogPosition
from worker.subscription import ReceivedMessage


def message(clock: ManualClock, *, age: float, delivery_attempt: int = 1) -> ReceivedMessage:
    return ReceivedMessage("ack", "id", b"", {}, clock.now() - timedelta(seconds=age), delivery_attempt)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def age_of(position: BacklogPosition, clock: ManualClock) -> float | None:
    return None if position.current is None else (clock.now() - position.current).total_seconds()


def test_nothing_is_known_before_the_first_message(clock: ManualClock) -> None:
    position = BacklogPosition(clock)
    position.note([])

    assert position.current is None


def test_the_median_of_the_latest_messages_counts(clock: ManualClock) -> None:
    """One message that comes early or late does not move it."""
    position = BacklogPosition(clock)
    position.note([message(clock, age=age) for age in (598, 600, 602, 9_000)])
    position.note([message(clock, age=0)])

    assert age_of(position, clock) == 600


def test_messages_of_some_time_ago_do_not_count(clock: ManualClock) -> None:
    position = BacklogPosition(clock)
    position.note([message(clock, age=900) for _ in range(50)])

    clock.advance(WINDOW_SECONDS + 0.1)
    position.note([message(clock, age=5)])

    assert age_of(position, clock) == 5


def test_only_so_many_messages_count_the_latest(clock: ManualClock) -> None:
    position = BacklogPosition(clock)
    position.note([message(clock, age=900) for _ in range(2 * MAX_MESSAGES)])

    position.note([message(clock, age=5) for _ in range(MAX_MESSAGES)])

    assert age_of(position, clock) == 5


@pytest.mark.parametrize("attempt", [2, 50])
def test_redeliveries_say_nothing(clock: ManualClock, attempt: int) -> None:
    position = BacklogPosition(clock)
    position.note([message(clock, age=9_000, delivery_attempt=attempt)])
    assert position.current is None

    position.note([message(clock, age=5), *(message(clock, age=9_000, delivery_attempt=attempt) for _ in range(9))])

    assert age_of(position, clock) == 5


def test_where_attempts_are_not_counted_every_message_is_a_first_one(clock: ManualClock) -> None:
    position = BacklogPosition(clock)

    position.note([message(clock, age=7, delivery_attempt=0)])

    assert age_of(position, clock) == 7


def test_it_is_unknown_again_when_nothing_more_comes(clock: ManualClock) -> None:
    position = BacklogPosition(clock)
    position.note([message(clock, age=600)])

    clock.advance(VALID_SECONDS)
    assert position.current is not None
    position.note([])
    clock.advance(0.1)
    assert position.current is None


def test_without_a_backlog_there_is_no_position(clock: ManualClock) -> None:
    position = BacklogPosition(clock)
    position.note([message(clock, age=600)])

    position.nothing_waits()

    assert position.current is None
