"""Text on a screen: wrapped, shortened, side by side, and cut to the rows of the terminal."""

import pytest

from worker.operators.state.watch import fitting
from worker.operators.terminal.layout import beside, shortened, wrapped
from worker.operators.terminal.output import bar, clean


def test_long_sentences_are_wrapped_and_indented() -> None:
    assert list(wrapped("one two three four", 9, indent="  ")) == ["one two", "  three", "  four"]
    assert list(wrapped("", 9)) == [""]


def test_what_does_not_fit_is_shortened_and_says_so() -> None:
    assert (shortened("order_paid", 10), shortened("order_paid", 6)) == ("order_paid", "order…")


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (80, ["a    ccc   d", "bb"]),
        (8, ["a    ccc", "bb", "d"]),
        (3, ["a", "bb", "ccc", "d"]),
    ],
)
def test_blocks_stand_beside_each_other_as_far_as_there_is_room(columns: int, expected: list[str]) -> None:
    assert list(beside([["a", "bb"], ["ccc"], ["d"]], columns)) == expected


def test_a_screen_that_is_too_long_says_how_many_lines_are_left() -> None:
    assert fitting(["1", "2", "3"], 3) == ["1", "2", "3"]
    assert fitting(["1", "2", "3", "4"], 3) == ["1", "2", "(2 more lines: `nest-events status` shows them)"]


def test_what_a_terminal_would_obey_is_not_printed() -> None:
    assert clean("a\x1b[31mb\nc\u202e") == "a\ufffd[31mb\ufffdc\ufffd"


def test_a_bar_shows_anything_at_all() -> None:
    assert [len(bar(value, 1000, 10)) for value in (0, 1, 500, 1000)] == [0, 1, 5, 10]
