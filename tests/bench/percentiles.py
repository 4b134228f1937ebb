"""Percentiles of measured values."""

from collections.abc import Sequence


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The least of the sorted values that is not exceeded by `percent` of them."""
    index = -(-len(ordered) * percent // 100) - 1
    return ordered[max(0, min(len(ordered) - 1, int(index)))]
