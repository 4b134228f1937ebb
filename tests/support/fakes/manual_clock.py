"""A clock that stands still until a test advances it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

_START = 1_700_000_000_000_000_000


@dataclass
class ManualClock:
    """shared.clock.Clock; its wall clock and its monotonic time advance together."""

    nanos: int = _START
    _listeners: list[Callable[[], None]] = field(default_factory=list)

    def now_nanos(self) -> int:
        return self.nanos

    def monotonic(self) -> float:
        # From 1,000, so that a zero in the code is not taken for "just now".
        return 1000.0 + (self.nanos - _START) / 1e9

    def now(self) -> datetime:
        return datetime.fromtimestamp(0, UTC) + timedelta(microseconds=self.nanos // 1000)

    def advance(self, seconds: float) -> None:
        assert seconds >= 0
        self.nanos += round(seconds * 1e9)
        for listener in self._listeners:
            listener()

    def on_advance(self, listener: Callable[[], None]) -> None:
        self._listeners.append(listener)
