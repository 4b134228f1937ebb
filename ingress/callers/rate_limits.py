"""Rate limits: a token bucket of events for each caller, in this process; instances do not share them."""

from typing import Final

from shared.clock import Clock
from shared.errors import CallerOverloadedError

BURST_SECONDS: Final = 1.0
"""The capacity of a bucket, in seconds of the rate; at least one event."""

MAX_KEPT_CALLERS: Final = 10_000
"""Buckets (about 2 MB) at which those that are full again are dropped: a new bucket is full too."""


class CallerRates:
    """The token buckets of all callers. Not thread-safe: for the event loop's thread."""

    def __init__(self, events_per_second: float | None, clock: Clock) -> None:
        self._rate = events_per_second
        self._clock = clock
        self._buckets: dict[str, tuple[float, float]] = {}
        """Tokens, below 0 after a call that took more than there were, and the monotonic time of that count."""
        self._prune_at = MAX_KEPT_CALLERS

    def admit(self, caller: str, events: int) -> None:
        """Take a call's events from the caller's bucket. Without a limit every call is admitted.

        A call is admitted whole if at least one token is left. The bucket may go below zero, and no further call is
        admitted until it is refilled. So a batch larger than the bucket passes, and the rate holds on average.

        Raises:
            CallerOverloadedError: less than one token is left; none was taken.
        """
        if self._rate is None:
            return
        now = self._clock.monotonic()
        tokens = self._tokens(caller, now, self._rate)
        if tokens < 1:
            raise CallerOverloadedError(f"more than {self._rate:g} events a second of this caller; nothing was written")
        if len(self._buckets) >= self._prune_at:
            self._drop_full_buckets(now, self._rate)
        self._buckets[caller] = (tokens - events, now)

    def _tokens(self, caller: str, now: float, rate: float) -> float:
        full = max(1.0, rate * BURST_SECONDS)
        if caller not in self._buckets:
            return full
        tokens, since = self._buckets[caller]
        return min(full, tokens + rate * (now - since))

    def _drop_full_buckets(self, now: float, rate: float) -> None:
        full = max(1.0, rate * BURST_SECONDS)
        self._buckets = {
            caller: bucket for caller, bucket in self._buckets.items() if self._tokens(caller, now, rate) < full
        }
        # The remaining buckets are not full. Doubling keeps the cost of pruning constant per call on average.
        self._prune_at = max(MAX_KEPT_CALLERS, 2 * len(self._buckets))
