"""Held messages: which are taken for a probe or a batch, and how many there is room for."""

import random
from collections import Counter
from datetime import UTC, datetime

import pytest

from worker.held_messages import MAX_HELD_MESSAGES, ROTATED_MESSAGES, HeldMessages
from worker.subscription import ReceivedMessage


def message(number: int, *, size: int = 1) -> ReceivedMessage:
    return ReceivedMessage(f"ack-{number}", str(number), b"x" * size, {}, datetime.now(UTC), 1)


def messages(*numbers: int) -> list[ReceivedMessage]:
    return [message(number) for number in numbers]


def numbers(taken: list[ReceivedMessage]) -> list[int]:
    return [int(each.message_id) for each in taken]


def probed(held: HeldMessages) -> int:
    """Take one for a probe, and hold it again."""
    chosen = held.take_for_probe()
    assert chosen is not None
    held.add([chosen])
    return int(chosen.message_id)


@pytest.fixture
def held() -> HeldMessages:
    return HeldMessages(random.Random(0))


def test_the_oldest_are_taken_to_be_worked_on(held: HeldMessages) -> None:
    held.add(messages(1, 2))
    held.add(messages(3))

    assert numbers(held.take(2)) == [1, 2]
    assert numbers(held.take(2)) == [3]
    assert held.take(2) == []


def test_a_message_that_is_held_twice_is_there_once(held: HeldMessages) -> None:
    held.add(messages(1))
    room = held.room
    held.add(messages(1))

    assert (len(held), held.room) == (1, room)
    assert numbers(held.take(9)) == [1]


def test_there_is_room_for_so_many_messages(held: HeldMessages) -> None:
    held.add(messages(*range(MAX_HELD_MESSAGES - 3)))
    assert held.room == 3

    held.add(messages(*range(10_000, 10_100)))

    assert held.room == 0


def test_there_is_room_for_so_many_bytes_and_what_is_taken_makes_room(
    held: HeldMessages, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.held_messages.MAX_HELD_BYTES", 100)
    held.add([message(1, size=99)])
    assert held.room == MAX_HELD_MESSAGES - 1
    held.add([message(1, size=99), message(2, size=1)])  # the first one is there already
    assert held.room == 0

    held.take_for_probe()
    held.take(9)

    assert held.room == MAX_HELD_MESSAGES


def test_nothing_held_is_no_probe(held: HeldMessages) -> None:
    assert held.take_for_probe() is None


def test_each_is_probed_before_any_is_probed_again(held: HeldMessages) -> None:
    held.add(messages(*range(20)))

    rounds = [[probed(held) for _ in range(20)] for _ in range(3)]

    assert [Counter(each) for each in rounds] == [Counter(range(20))] * 3
    assert rounds[0] != sorted(rounds[0])  # at random
    assert rounds[0] != rounds[1]


def test_fresh_ones_are_probed_first(held: HeldMessages) -> None:
    held.add(messages(1, 2, 3))
    for _ in range(3):
        probed(held)
    held.add(messages(4))

    assert probed(held) == 4


def test_what_was_probed_most_and_then_the_oldest_is_given_back_for_fresh_ones(held: HeldMessages) -> None:
    held.add(messages(*range(ROTATED_MESSAGES + 10)))
    first, second = probed(held), probed(held)

    rotated = numbers(held.take_to_rotate())

    assert set(rotated[:2]) == {first, second}
    unprobed = [n for n in range(ROTATED_MESSAGES + 10) if n not in (first, second)]
    assert rotated[2:] == unprobed[: ROTATED_MESSAGES - 2]
    assert len(held) == 10


def test_what_was_taken_for_good_is_not_remembered(held: HeldMessages) -> None:
    held.add(messages(*range(10)))
    for _ in range(5):
        probed(held)

    held.take(10)

    assert held._probes == {}


def test_what_was_probed_and_does_not_come_back_is_not_remembered_for_ever(held: HeldMessages) -> None:
    for number in range(1000):
        held.add(messages(number))
        held.take_for_probe()  # and it was confirmed, or steps aside

    assert len(held._probes) < 10
