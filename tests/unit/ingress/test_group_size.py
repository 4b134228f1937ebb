"""How many rows a commit that callers share may have, and how that adapts."""

from collections.abc import Callable

import pytest

from ingress.commit.group_size import FEWEST_ROWS, GroupSize

MOST = 64


def spanner(rows: int) -> float:
    return 0.008 + 0.00005 * rows


def multi_region(rows: int) -> float:
    return 0.1 + 0.0001 * rows


def emulator(rows: int) -> float:
    return 0.003 + 0.0002 * rows + 0.000004 * rows**2


def slow_at_everything(rows: int) -> float:
    return 0.4 + 0.0001 * rows


def learn(size: GroupSize, seconds: Callable[[int], float], commits: int = 200) -> None:
    """A flood that fills each commit, and a lone row now and then."""
    for number in range(commits):
        rows = 1 if number % 5 == 0 else size.rows
        size.committed(rows, seconds(rows))


@pytest.mark.parametrize("storage", [spanner, multi_region])
def test_where_rows_cost_no_time_a_commit_has_as_many_as_it_may(storage: Callable[[int], float]) -> None:
    size = GroupSize(MOST)
    learn(size, storage)

    assert size.rows == MOST


def test_where_rows_cost_time_a_commit_has_as_few_as_leave_it_quick() -> None:
    size = GroupSize(MOST)
    learn(size, emulator)

    assert FEWEST_ROWS <= size.rows <= 16
    assert emulator(size.rows) <= 2.5 * emulator(1)


def test_a_few_commits_are_enough_to_learn_from() -> None:
    size = GroupSize(MOST)
    learn(size, emulator, commits=6)

    assert size.rows <= 16


def test_it_is_never_smaller_than_the_fewest() -> None:
    size = GroupSize(MOST)
    learn(size, lambda rows: 0.001 * rows**2)

    assert size.rows >= FEWEST_ROWS


def test_it_grows_again_when_commits_are_quick_again() -> None:
    size = GroupSize(MOST)
    learn(size, emulator)
    learn(size, spanner, 400)

    assert size.rows == MOST


def test_what_was_once_quick_is_forgotten() -> None:
    size = GroupSize(MOST)
    learn(size, spanner)
    learn(size, multi_region, 200)

    assert size.rows == MOST


def test_some_seconds_after_every_commit_became_slow_they_have_as_many_rows_as_before() -> None:
    size = GroupSize(MOST)
    learn(size, spanner)
    seconds = 0.0
    size.committed(size.rows, slow_at_everything(size.rows))
    assert size.rows < MOST  # at first it looks like the doing of the rows

    while size.rows < MOST:
        taken = slow_at_everything(size.rows)
        size.committed(size.rows, taken)
        seconds += taken

    assert seconds < 25


def test_a_limit_below_the_fewest_is_kept() -> None:
    size = GroupSize(3)
    learn(size, emulator)

    assert size.rows == 3
