"""Untried messages: which are tried, and which go back to the lanes."""

import pytest

from shared.events import forward_message
from tests.support.fakes.manual_clock import ManualClock
from tests.support.sample_events import sample_event
from worker.subscription import ReceivedMessage
from worker.untried import Untried

CLOCK = ManualClock()


def message(number: int, name: str, **attributes: str) -> ReceivedMessage:
    made = forward_message.encode(sample_event(name))
    return ReceivedMessage(f"ack-{number}", str(number), made.data, made.attributes | attributes, CLOCK.now(), 1)


class Names:
    """The names that are notorious."""

    def __init__(self, *names: str) -> None:
        self.bad = set(names)

    def untried(self) -> Untried:
        return Untried(lambda name: name in self.bad)


def test_the_names_take_turns_and_of_each_the_oldest_is_tried_first() -> None:
    """Behind a thousand events of one bad name another would wait for its one trial."""
    untried = Names("a", "b").untried()
    assert untried.since == float("inf")
    for at, name in enumerate("aaab"):
        untried.add(message(at, name), float(at))

    tried = [(untried.since, untried.take_for_trial().message_id) for _ in range(4)]

    assert tried == [(0.0, "0"), (3.0, "3"), (1.0, "1"), (2.0, "2")]
    assert len(untried) == 0


def test_nothing_goes_back_while_its_name_is_notorious() -> None:
    untried = Names("a").untried()
    untried.add(message(1, "a"), 0.0)

    assert untried.take_restored(10) == []
    assert len(untried) == 1


def test_all_of_a_name_go_back_once_it_is_restored_the_oldest_first_and_no_other() -> None:
    names = Names("a", "b")
    untried = names.untried()
    for number in range(6):
        untried.add(message(number, "ab"[number % 2]), float(number))

    names.bad = {"b"}

    assert [each.message_id for each in untried.take_restored(2)] == ["0", "2"]
    assert [each.message_id for each in untried.take_restored(2)] == ["4"]
    assert untried.take_restored(2) == []
    assert len(untried) == 3


def test_the_name_is_that_of_the_event_and_not_of_an_attribute() -> None:
    """The claim judges by the event. By another name the message would go back and forth without end."""
    untried = Names("bad").untried()
    untried.add(message(1, "bad", event_name="good"), 0.0)

    assert untried.take_restored(10) == []


def test_its_bytes_are_those_of_what_waits() -> None:
    untried = Names("a").untried()
    messages = [message(number, "a") for number in range(3)]
    for each in messages:
        untried.add(each, 0.0)
    assert untried.bytes == sum(len(each.data) for each in messages)

    for _ in messages:
        untried.take_for_trial()

    assert (untried.bytes, len(untried)) == (0, 0)


def test_of_nothing_none_can_be_taken() -> None:
    with pytest.raises(StopIteration):
        Names().untried().take_for_trial()
