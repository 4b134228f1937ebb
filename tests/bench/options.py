"""The options of a run."""

from dataclasses import dataclass
from typing import Final

DEFAULT_ROUNDS: Final = 3
DEFAULT_SECONDS: Final = 3
"""Seconds of a load. A shorter one would miss calls for which the client sleeps two seconds after an ABORTED."""

DEFAULT_BACKLOG: Final = 20_000
DEFAULT_MEMORY_SECONDS: Final = 300
"""Five minutes, in which a leak would show. The figure that it is compared with is taken after a fifth of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    rounds: int = DEFAULT_ROUNDS
    seconds: int = DEFAULT_SECONDS
    """Seconds of a load; wrk takes whole seconds only."""

    backlog: int = DEFAULT_BACKLOG
    """Events of a drain."""

    memory_seconds: int = DEFAULT_MEMORY_SECONDS
    ways: frozenset[str] = frozenset()
    """The ways to measure; empty for all."""

    def wants(self, way: str) -> bool:
        return not self.ways or way in self.ways
