"""Reports of running processes, which operators read. The port and its types. No process decides anything by them."""

import enum
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol


class Role(enum.StrEnum):
    INGRESS = "ingress"
    WORKER = "worker"


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A process's counts of one interval, and its state at the end of it. Fields of the other role keep their defaults.

    Times are the process's own unless stated otherwise, and aware.
    """

    # Of an ingress.
    accepted: int = 0
    """Events committed."""

    refused: int = 0
    """Events, or calls that failed as a whole, that were answered with an error of the caller's, limits included."""

    failed: int = 0
    """Events, or calls that failed as a whole, that were answered with an error of the service's."""

    # Of a worker.
    delivered: int = 0
    """Events that Statsig confirmed and that were settled."""

    dead_lettered: int = 0

    failed_requests: int = 0
    """Requests to Statsig that were not confirmed."""

    last_failure: str | None = None
    """The outcome of the latest such request since the process started: a word of at most 64 characters."""

    last_failure_at: datetime | None = None

    circuit_reason: str | None = None
    """Why the circuit is open, a word of at most 64 characters; None while it is closed."""

    circuit_since: datetime | None = None

    next_probe_at: datetime | None = None
    """When an open circuit is probed next. Can be in the past when it is read."""

    nothing_pending_before: datetime | None = None
    """Spanner's time: no event from before is pending or will be. A scan of the pending index can begin here, behind
    the deleted entries of settled events. None before the worker has looked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessState:
    process_id: str
    """A UUID, new with each start. The process's log has it too (`worker_started`, `ingress_started`)."""

    role: Role

    version: str
    """At most 64 characters."""

    started_at: datetime
    """By the process's clock, aware."""

    interval_seconds: float = 0.0
    """How long the counts of the report took."""

    report: Report = field(default_factory=Report)

    is_stopped: bool = False
    """The process is shutting down and this is its last report. It finishes the work in flight after that."""


@dataclass(frozen=True, slots=True)
class SeenProcess:
    state: ProcessState

    seen_ago: timedelta
    """Time since the report, by Spanner's clock."""


class ProcessStates(Protocol):
    """Each process's latest report, kept for a day."""

    async def report(self, state: ProcessState) -> None:
        """Write a report; it replaces the process's earlier one.

        Raises:
            StorageUnavailableError: not known whether it was written.
        """
        ...

    async def seen(self) -> list[SeenProcess]:
        """Read all reports that are kept, of stopped and silent processes too, the latest first.

        Raises:
            StorageUnavailableError: no answer.
        """
        ...
