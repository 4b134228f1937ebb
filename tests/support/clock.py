"""A clock that a test sets."""

from tests.support.events import NOW


class ManualClock:
    """shared.clock.Clock; both times move together, by hand."""

    def __init__(self) -> None:
        self._elapsed = 0.0

    def now_nanos(self) -> int:
        return NOW + int(self._elapsed * 1_000_000_000)

    def monotonic(self) -> float:
        return 1000.0 + self._elapsed

    def advance(self, seconds: float) -> None:
        self._elapsed += seconds
