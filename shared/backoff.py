"""Exponential backoff."""


def exponential_backoff(first_seconds: float, longest_seconds: float, failures: int) -> float:
    """The wait after so many failures in a row, in seconds: the first one, doubled with each further failure.

    `failures` below 1 count as 1. Jitter is the caller's.
    """
    doublings = min(max(failures - 1, 0), 64)  # bounded, since a float overflows at 1,024
    return min(longest_seconds, first_seconds * 2.0**doublings)
