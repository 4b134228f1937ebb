"""What a run of the bench is asked for."""

from dataclasses import dataclass
from typing import Final

DEFAULT_ROUNDS: Final = 3
DEFAULT_SECONDS: Final = 3
"""Of one load. In less, the calls that the client lets sleep for two seconds after an ABORTED would not be seen."""

DEFAULT_BACKLOG: Final = 20_000
DEFAULT_MEMORY_SECONDS: Final = 300
"""Five minutes, in which a leak would show. The figure it is held against is taken after a fifth of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    rounds: int = DEFAULT_ROUNDS
    seconds: int = DEFAULT_SECONDS
    """Of one load; wrk knows whole seconds only."""

    backlog: int = DEFAULT_BACKLOG
    """Events of one drain."""

    memory_seconds: int = DEFAULT_MEMORY_SECONDS
    ways: frozenset[str] = frozenset()
    """Only these; empty for all."""

    def wants(self, way: str) -> bool:
        return not self.ways or way in self.ways
