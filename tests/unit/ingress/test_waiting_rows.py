"""Which rows the next commit takes, and which may not wait."""

from collections import Counter
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingress.commit.group_size import FEWEST_ROWS
from ingress.commit.waiting_rows import ROW_BYTES, TURN_BYTES, WaitingCall, WaitingRow, WaitingRows
from shared.errors import CallerOverloadedError, OverloadedError
from tests.support.fakes.committing import row

A_TURN = TURN_BYTES // ROW_BYTES
"""Rows of one turn at the most."""


@dataclass
class Waiting:
    """Rows that wait, each known by its caller."""

    max_rows: int = 10_000
    max_bytes: int = 10**9
    callers: dict[str, str] = field(default_factory=dict)
    """Of each row, by its write_id."""

    def __post_init__(self) -> None:
        self.rows = WaitingRows(max_rows=self.max_rows, max_bytes=self.max_bytes)

    def add(
        self, caller: str, count: int = 1, *, pad: int = 0, call: WaitingCall | None = None
    ) -> list[OverloadedError]:
        """What was refused."""
        errors: list[OverloadedError] = []
        for _ in range(count):
            waiting = WaitingRow(row(pad=pad), call or WaitingCall())
            self.callers[waiting.row.write_id] = caller
            error = self.rows.offer(waiting, caller)
            if error is not None:
                errors.append(error)
        return errors

    def group(self, max_rows: int, *, new_apart: bool = False) -> Counter[str]:
        """How many of each caller the next commit has."""
        taken = self.rows.take_group(max_rows, new_apart=new_apart)
        return Counter(self.callers[waiting.row.write_id] for waiting in taken)


async def test_one_caller_alone_has_the_whole_commit() -> None:
    waiting = Waiting()
    waiting.add("flood", 300)

    assert waiting.group(256) == {"flood": 256}
    assert waiting.group(256) == {"flood": 44}
    assert not waiting.group(256)


@pytest.mark.parametrize("max_rows", [FEWEST_ROWS, 64, 256])
async def test_a_row_that_comes_behind_a_flood_is_in_the_next_commit(max_rows: int) -> None:
    waiting = Waiting()
    waiting.add("flood", 1000)
    waiting.group(max_rows)
    waiting.add("polite")

    assert waiting.group(max_rows)["polite"] == 1


async def test_where_rows_cost_time_who_comes_behind_a_flood_has_a_commit_without_it() -> None:
    waiting = Waiting()
    waiting.add("flood", 1000)
    waiting.group(64, new_apart=True)
    waiting.add("polite", 2)
    waiting.add("another")

    assert waiting.group(64, new_apart=True) == {"polite": 2, "another": 1}
    assert waiting.group(64, new_apart=True) == {"flood": 64}


async def test_a_flood_behind_another_one_has_its_first_turn_without_it_and_then_shares() -> None:
    waiting = Waiting()
    waiting.add("flood", 1000)
    waiting.group(64, new_apart=True)
    waiting.add("second", 1000)
    first = waiting.group(64, new_apart=True)

    assert set(first) == {"second"}
    assert first.total() <= A_TURN
    for _ in range(5):
        assert set(waiting.group(64, new_apart=True)) == {"flood", "second"}


async def test_ever_more_new_callers_leave_a_flood_every_other_commit() -> None:
    waiting = Waiting()
    waiting.add("flood", 1000)
    waiting.group(FEWEST_ROWS, new_apart=True)
    groups = []
    for number in range(20):
        waiting.add(f"caller {number}")
        groups.append(waiting.group(FEWEST_ROWS, new_apart=True))

    assert ["flood" in group for group in groups] == [False, True] * 10


async def test_new_rows_that_nobody_waits_for_do_not_end_the_commits() -> None:
    waiting = Waiting()
    waiting.add("flood", 20)
    waiting.group(FEWEST_ROWS, new_apart=True)
    gone = WaitingCall()
    waiting.add("gone", 3, call=gone)
    gone._end()

    assert waiting.group(FEWEST_ROWS, new_apart=True) == {"flood": FEWEST_ROWS}


async def test_callers_have_as_many_rows_of_a_commit_each() -> None:
    waiting = Waiting()
    for caller in ("a", "b", "c"):
        waiting.add(caller, 500)
    group = waiting.group(240)

    assert sum(group.values()) == 240
    assert max(group.values()) - min(group.values()) <= A_TURN


async def test_what_one_does_not_need_others_have() -> None:
    waiting = Waiting()
    waiting.add("a", 3)
    waiting.add("b", 500)

    assert waiting.group(100) == {"a": 3, "b": 97}


async def test_who_sends_large_rows_has_fewer_of_them() -> None:
    waiting = Waiting()
    waiting.add("large", 200, pad=20_000)
    waiting.add("small", 2000)
    total = waiting.group(200) + waiting.group(200)

    assert 0 < total["large"] < total["small"] / 10


async def test_who_was_alone_before_is_not_made_to_pay_for_it() -> None:
    waiting = Waiting()
    waiting.add("large", 100, pad=60_000)
    waiting.group(50)
    waiting.add("other", 500)

    assert waiting.group(100)["large"] >= 1


async def test_rows_that_nobody_waits_for_count_for_nothing() -> None:
    waiting = Waiting()
    gone = WaitingCall()
    waiting.add("flood", 500, call=gone)
    gone._end()
    waiting.add("flood", 3)

    assert waiting.group(64) == {"flood": 3}
    assert len(waiting.rows) == 0


async def test_a_flood_is_refused_for_its_own_load_and_others_find_room() -> None:
    waiting = Waiting(max_rows=100)

    assert {type(error) for error in waiting.add("flood", 200)} == {CallerOverloadedError}
    assert len(waiting.rows) == 50
    assert waiting.add("polite", 20) == []


async def test_a_flood_of_large_rows_is_refused_by_what_they_weigh() -> None:
    waiting = Waiting(max_bytes=1_000_000)

    assert {type(error) for error in waiting.add("flood", 100, pad=20_000)} == {CallerOverloadedError}
    assert len(waiting.rows) <= 25
    assert waiting.add("polite", 5, pad=20_000) == []


async def test_where_the_others_left_no_room_it_is_the_whole_load() -> None:
    waiting = Waiting(max_rows=10)
    for number in range(10):
        waiting.add(f"caller {number}")

    assert {type(error) for error in waiting.add("another")} == {OverloadedError}


@given(
    st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 40), st.sampled_from([0, 0, 0, 9000])), max_size=30),
    st.integers(1, 64),
    st.booleans(),
)
async def test_however_rows_come_each_is_taken_once_and_no_caller_is_passed_over(
    steps: list[tuple[str, int, int]], max_rows: int, new_apart: bool
) -> None:
    waiting = Waiting(max_rows=200)
    left: Counter[str] = Counter()
    for caller, count, pad in steps:
        left[caller] += count - len(waiting.add(caller, count, pad=pad))
        assert len(waiting.rows) == left.total() <= 200
        group = waiting.group(max_rows, new_apart=new_apart)
        if new_apart:
            assert min(1, left.total()) <= group.total() <= max_rows
        else:
            assert group.total() == min(max_rows, left.total())
        left = left - group
    two_turns = 2 * len("abcd") * A_TURN
    while left:
        # No row weighs much more than a turn, so that each caller has one in two turns. One may be of new callers.
        served = waiting.group(two_turns, new_apart=new_apart) + waiting.group(two_turns, new_apart=new_apart)
        assert set(left) == set(served)
        left -= served
        assert len(waiting.rows) == left.total()
