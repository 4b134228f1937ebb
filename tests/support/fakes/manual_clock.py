"""Time that passes only when a test says so."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

_START = 1_700_000_000_000_000_000


@dataclass
class ManualClock:
    """Implements shared.clock.Clock."""

    nanos: int = _START
    _listeners: list[Callable[[], None]] = field(default_factory=list)

    def now_nanos(self) -> int:
        return self.nanos

    def monotonic(self) -> float:
        # From 1,000 and not from 0, so that nobody takes a zero for "long ago".
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
