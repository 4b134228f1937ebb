"""Percentiles of what was measured one by one."""

from collections.abc import Sequence


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The least of the sorted values that so many percent of them do not exceed."""
    index = -(-len(ordered) * percent // 100) - 1
    return ordered[max(0, min(len(ordered) - 1, int(index)))]
