"""Exponential backoff: doubled with each failure, to a bound, for any count."""

import pytest

from shared.backoff import exponential_backoff


@pytest.mark.parametrize(
    ("failures", "seconds"), [(-1, 0.5), (0, 0.5), (1, 0.5), (2, 1.0), (3, 2.0), (5, 8.0), (6, 8.0), (10**6, 8.0)]
)
def test_the_wait_doubles_from_the_first_to_the_longest(failures: int, seconds: float) -> None:
    assert exponential_backoff(0.5, 8.0, failures) == seconds
