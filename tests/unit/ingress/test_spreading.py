"""Waiting times are spread evenly between half of the longest and all of it."""

from itertools import pairwise

from ingress.spreading import spread

COUNT = 136
"""Clients that came back together each second."""


def test_no_time_is_longer_than_the_longest_or_shorter_than_half_of_it() -> None:
    times = [spread(3.0, number) for number in range(10_000)]

    assert min(times) >= 1.5
    assert max(times) < 3.0


def test_any_so_many_in_succession_come_back_one_after_another() -> None:
    for first in (0, 1, 999, 123_456):
        times = sorted(spread(1.0, number) for number in range(first, first + COUNT))

        gaps = [later - earlier for earlier, later in pairwise(times)]
        assert max(gaps) < 3 * 0.5 / COUNT
        assert min(gaps) > 0.3 * 0.5 / COUNT
