"""What processes tell of themselves, for operators: the port and its vocabulary. Nothing is decided by it."""

import enum
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol


class Role(enum.StrEnum):
    INGRESS = "ingress"
    WORKER = "worker"


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a process counted in one interval, and how it stands at its end. What is not its role's stays as it is here.

    Times are the process's own, and aware.
    """

    accepted: int = 0
    """Of an ingress: events that it committed."""

    refused: int = 0
    """Of an ingress: events, or calls that failed as a whole, answered with a code of the caller's, limits included."""

    failed: int = 0
    """As above, with a code of ours: Spanner did not take them, or not in time."""

    delivered: int = 0
    """Of a worker: events that Statsig confirmed and the ledger has as delivered."""

    dead_lettered: int = 0
    failed_requests: int = 0
    """Of a worker: requests to Statsig that were not confirmed."""

    last_failure: str | None = None
    """How the last such request since the process began ended, a word of 64 characters at most."""

    last_failure_at: datetime | None = None
    circuit_reason: str | None = None
    """Why a worker's circuit is open, a word of 64 characters at most; None while it is closed."""

    circuit_since: datetime | None = None
    next_probe_at: datetime | None = None
    """When an open circuit is next tried; may be over when it is read."""

    nothing_pending_before: datetime | None = None
    """Of a worker, Spanner's time: no event is pending from before, nor ever will be. Whoever looks for what is pending
    begins there, and not among the entries of what was settled. None where it has not looked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessState:
    process_id: str
    """A UUID, new with each start; the process's log has it too (`worker_started`, `ingress_started`)."""

    role: Role
    version: str
    """64 characters at most."""

    started_at: datetime
    """The process's own, aware."""

    interval_seconds: float = 0.0
    """How long it counted what the report says."""

    report: Report = field(default_factory=Report)
    is_stopped: bool = False
    """It was told to end, and this is the last that it told; what is in work takes it some seconds more."""


@dataclass(frozen=True, slots=True)
class SeenProcess:
    state: ProcessState
    seen_ago: timedelta
    """Since it told this, by Spanner's clock."""


class ProcessStates(Protocol):
    """The last that each process told, kept for a day after."""

    async def report(self, state: ProcessState) -> None:
        """Tell; replaces what the same process told before.

        Raises:
            StorageUnavailableError: not known whether it was written.
        """
        ...

    async def seen(self) -> list[SeenProcess]:
        """Everything that is kept, stopped and silent processes included, the latest told first.

        Raises:
            StorageUnavailableError: no answer.
        """
        ...
