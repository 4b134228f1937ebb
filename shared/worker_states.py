"""What workers tell of themselves, for operators: the port and its vocabulary. Nothing is decided by it."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol


@dataclass(frozen=True, slots=True)
class WorkerState:
    """Times are the worker's own, and aware."""

    worker_id: str
    """A UUID, new with each start; the worker's `worker_started` line has it too."""

    version: str
    """64 characters at most."""

    started_at: datetime

    circuit_reason: str | None = None
    """Why its circuit is open, a word of 64 characters at most; None while it is closed."""

    circuit_since: datetime | None = None
    is_stopped: bool = False
    """It was told to end, and this is the last that it told; what is in work takes it some seconds more."""


@dataclass(frozen=True, slots=True)
class SeenWorker:
    state: WorkerState
    seen_ago: timedelta
    """Since it told this, by Spanner's clock."""


class WorkerStates(Protocol):
    """The last that each worker told, kept for a day after."""

    async def report(self, state: WorkerState) -> None:
        """Tell; replaces what the same worker told before.

        Raises:
            StorageUnavailableError: not known whether it was written.
        """
        ...

    async def seen(self) -> list[SeenWorker]:
        """Everything that is kept, stopped and silent workers included, the latest told first.

        Raises:
            StorageUnavailableError: no answer.
        """
        ...
