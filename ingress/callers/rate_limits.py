"""A limit on the events of one caller: a token bucket each, in this process; instances know nothing of each other."""

from typing import Final

from shared.clock import Clock
from shared.errors import CallerOverloadedError

BURST_SECONDS: Final = 1.0
"""Of the rate, which a caller that was quiet has at once."""

MAX_KEPT_CALLERS: Final = 10_000
"""Buckets kept, about 2 MB, before those that are full again are dropped: a new one is full too."""


class CallerRates:
    """What each caller may still log. For the event loop's thread."""

    def __init__(self, events_per_second: float | None, clock: Clock) -> None:
        self._rate = events_per_second
        self._clock = clock
        self._buckets: dict[str, tuple[float, float]] = {}
        """Tokens, and when there were as many."""
        self._look_at = MAX_KEPT_CALLERS

    def admit(self, caller: str, events: int) -> None:
        """Take a call's events from the caller's bucket; free of charge where no limit is set.

        A call is taken whole while there is one left: what goes beyond is owed, and no call is taken until that is paid
        for. So a batch larger than the bucket passes, and the rate holds all the same.

        Raises:
            CallerOverloadedError: there is none left; nothing was taken.
        """
        if self._rate is None:
            return
        now = self._clock.monotonic()
        tokens = self._tokens(caller, now, self._rate)
        if tokens < 1:
            raise CallerOverloadedError(f"more than {self._rate:g} events a second of this caller; nothing was written")
        if len(self._buckets) >= self._look_at:
            self._drop_full_ones(now, self._rate)
        self._buckets[caller] = (tokens - events, now)

    def _tokens(self, caller: str, now: float, rate: float) -> float:
        full = max(1.0, rate * BURST_SECONDS)
        if caller not in self._buckets:
            return full
        tokens, since = self._buckets[caller]
        return min(full, tokens + rate * (now - since))

    def _drop_full_ones(self, now: float, rate: float) -> None:
        full = max(1.0, rate * BURST_SECONDS)
        self._buckets = {
            caller: bucket for caller, bucket in self._buckets.items() if self._tokens(caller, now, rate) < full
        }
        # Of those that are left each owes something. Looking at them all is for once in as many calls.
        self._look_at = max(MAX_KEPT_CALLERS, 2 * len(self._buckets))
