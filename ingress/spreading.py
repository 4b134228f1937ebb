"""Jitter without chance: what came at once must not come back at once."""

from typing import Final

_GOLDEN: Final = 0.618034
"""The golden ratio's fraction: successive numbers, multiplied by it, have evenly spread fractional parts."""


def spread(longest: float, number: int) -> float:
    """A time from half of `longest` up to `longest`, in its unit. Those of successive numbers are evenly spread."""
    return longest * (1 + number * _GOLDEN % 1) / 2
