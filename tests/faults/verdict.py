"""The notes of a run, and the verdict on it. Values only."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.faults.measures import Latency
from tests.faults.row import Row


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """The notes of a run."""

    fault_at: float
    healed_at: float
    drain_seconds: float
    incidents: int
    memory_growth_mib: float
    peak_mib: dict[str, float]
    noted: Sequence[str] = ()
    """Breaches that the fault reported."""

    logs: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    more_drain_seconds: float = 0.0
    """Added to the row's bound, for a run that is larger than usual."""

    notes: Sequence[str] = ()
    """Measurements of the fault, for the table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunVerdict:
    row: Row
    seed: int
    events: int
    answered: int
    lost: int
    duplicated: int
    allowed: int
    ambiguous: int
    dead: int
    phantom: int
    before: Latency
    during: Latency
    after: Latency
    drain_seconds: float
    peak_mib: dict[str, float]
    requests_per_second: float
    attempts: dict[str, int]
    """The number of attempts by code."""

    breaches: tuple[str, ...]
    notes: tuple[str, ...] = ()


def not_run(row: Row, seed: int, error: Exception) -> RunVerdict:
    """The verdict on a row whose run broke off: it counts as a breach."""
    causes: list[BaseException] = [error]
    while isinstance(causes[-1], BaseExceptionGroup):
        causes.append(causes[-1].exceptions[0])
    why = f"did not run: {type(causes[-1]).__name__}: {str(causes[-1]).splitlines()[0] if str(causes[-1]) else ''}"
    counts = dict.fromkeys(("events", "answered", "lost", "duplicated", "allowed", "ambiguous", "dead", "phantom"), 0)
    return RunVerdict(
        row=row,
        seed=seed,
        **counts,
        before=Latency(),
        during=Latency(),
        after=Latency(),
        drain_seconds=0.0,
        peak_mib={},
        requests_per_second=0.0,
        attempts={},
        breaches=(why,),
        notes=(),
    )
