"""Parked messages: which of them are taken for what, and how many there is room for."""

import random
from collections import Counter
from datetime import UTC, datetime

import pytest

from worker.held_messages import MAX_PARKED_MESSAGES, ROTATED_MESSAGES, HeldMessages
from worker.subscription import ReceivedMessage


def message(number: int, *, size: int = 1) -> ReceivedMessage:
    return ReceivedMessage(f"ack-{number}", str(number), b"x" * size, {}, datetime.now(UTC), 1)


def messages(*numbers: int) -> list[ReceivedMessage]:
    return [message(number) for number in numbers]


def numbers(taken: list[ReceivedMessage]) -> list[int]:
    return [int(each.message_id) for each in taken]


def probed(parked: HeldMessages) -> int:
    """Take one for a probe, and park it again."""
    chosen = parked.take_for_probe()
    assert chosen is not None
    parked.park([chosen])
    return int(chosen.message_id)


@pytest.fixture
def parked() -> HeldMessages:
    return HeldMessages(random.Random(0))


def test_the_oldest_are_taken_to_be_worked_on(parked: HeldMessages) -> None:
    parked.park(messages(1, 2))
    parked.park(messages(3))

    assert numbers(parked.take(2)) == [1, 2]
    assert numbers(parked.take(2)) == [3]
    assert parked.take(2) == []


def test_a_message_that_is_parked_twice_is_there_once(parked: HeldMessages) -> None:
    parked.park(messages(1))
    room = parked.room
    parked.park(messages(1))

    assert (len(parked), parked.room) == (1, room)
    assert numbers(parked.take(9)) == [1]


def test_there_is_room_for_so_many_messages(parked: HeldMessages) -> None:
    parked.park(messages(*range(MAX_PARKED_MESSAGES - 3)))
    assert parked.room == 3

    parked.park(messages(*range(10_000, 10_100)))

    assert parked.room == 0


def test_there_is_room_for_so_many_bytes_and_what_is_taken_makes_room(
    parked: HeldMessages, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.held_messages.MAX_PARKED_BYTES", 100)
    parked.park([message(1, size=99)])
    assert parked.room == MAX_PARKED_MESSAGES - 1
    parked.park([message(1, size=99), message(2, size=1)])  # the first one is there already
    assert parked.room == 0

    parked.take_for_probe()
    parked.take(9)

    assert parked.room == MAX_PARKED_MESSAGES


def test_nothing_parked_is_no_probe(parked: HeldMessages) -> None:
    assert parked.take_for_probe() is None


def test_each_is_probed_before_any_is_probed_again(parked: HeldMessages) -> None:
    parked.park(messages(*range(20)))

    rounds = [[probed(parked) for _ in range(20)] for _ in range(3)]

    assert [Counter(each) for each in rounds] == [Counter(range(20))] * 3
    assert rounds[0] != sorted(rounds[0])  # at random
    assert rounds[0] != rounds[1]


def test_fresh_ones_are_probed_first(parked: HeldMessages) -> None:
    parked.park(messages(1, 2, 3))
    for _ in range(3):
        probed(parked)
    parked.park(messages(4))

    assert probed(parked) == 4


def test_what_was_probed_most_and_then_the_oldest_is_given_back_for_fresh_ones(parked: HeldMessages) -> None:
    parked.park(messages(*range(ROTATED_MESSAGES + 10)))
    first, second = probed(parked), probed(parked)

    rotated = numbers(parked.take_to_rotate())

    assert set(rotated[:2]) == {first, second}
    unprobed = [n for n in range(ROTATED_MESSAGES + 10) if n not in (first, second)]
    assert rotated[2:] == unprobed[: ROTATED_MESSAGES - 2]
    assert len(parked) == 10


def test_what_was_taken_for_good_is_not_remembered(parked: HeldMessages) -> None:
    parked.park(messages(*range(10)))
    for _ in range(5):
        probed(parked)

    parked.take(10)

    assert parked._probed == {}


def test_what_was_probed_and_does_not_come_back_is_not_remembered_for_ever(parked: HeldMessages) -> None:
    for number in range(1000):
        parked.park(messages(number))
        parked.take_for_probe()  # and it was confirmed, or steps aside

    assert len(parked._probed) < 10
