"""A row of the fault matrix: its fault, and what must hold afterwards. Values only."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from tests.faults.lab import Lab

IMPATIENT: Final[Mapping[str, str]] = {
    "CLAIM_SECONDS": "10",
    "STATSIG_TIMEOUT_SECONDS": "1",
    "RETRY_BUDGET_SECONDS": "3",
    "CIRCUIT_PROBE_SECONDS": "0.5",
    "SUSPECT_ATTEMPTS": "3",
    "SUSPECT_BACKOFF_SECONDS": "0.5",
    "BATCH_EVENTS": "50",
    "RECONCILE_AFTER_SECONDS": "2",
    "RECONCILE_INTERVAL_SECONDS": "1",
    "RECONCILE_EVENTS_PER_SECOND": "2000",
    "COMMIT_TIMEOUT_SECONDS": "2",
    "PUBLISH_TIMEOUT_SECONDS": "0.5",
    # The emulator runs one read-write transaction at a time, and drops those of a session beyond the 32nd: more at once
    # would test the emulator.
    "COMMIT_CONCURRENCY": "1",
    "LANES": "1",
}
"""Settings of every process, unless a row overrides them: minutes of production become seconds."""

QUICK: Final[Mapping[str, str]] = {"RETRY_BUDGET_SECONDS": "1", "CLAIM_SECONDS": "8"}
"""Further settings of a quick look: the shortest claim that the others allow."""

RECONCILER_OFF: Final[Mapping[str, str]] = {"RECONCILE_AFTER_SECONDS": "3600"}
"""Settings of rows that must heal by redelivery alone."""

PUBLISH_BUDGET_MS: Final = 1000 * float(IMPATIENT["PUBLISH_TIMEOUT_SECONDS"])

IN_FLIGHT: Final = int(IMPATIENT["LANES"]) * int(IMPATIENT["BATCH_EVENTS"])
"""The most events that a worker process can have in flight at Statsig when it is killed."""

Fault = Callable[["Lab"], Awaitable[None]]

StandInRule = Mapping[str, Any]
"""A rule of the stand-in for Statsig, as its control endpoint takes it."""

DEFAULT_SEEDS: Final = (1, 2, 3)


@dataclass(frozen=True, slots=True, kw_only=True)
class Poisoned:
    """What must hold for a row's poisoned events, which its lasting rules never accept."""

    reasons: frozenset[str]
    """Reasons that their dead letters may have."""

    requests_each: int
    """The most requests that carry one of them: those of the search, and its trials."""

    share_of_requests: float = 1.0
    """The largest share of all requests that carry any of them."""

    may_stay_pending: bool = False
    """Whether the run ends once all other events are settled: the trials' pauses grow."""

    dead_by_rule: frozenset[str] = frozenset()
    """Names of events that the row's rules may dead-letter."""

    others_may_die: Callable[[int], int] = lambda _: 0
    """How many other events may be dead letters, for any reason, by the number of events."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectations:
    """What a row allows; everything else is a breach."""

    duplicates_per_incident: int | None = 0
    """Allowed copies at Statsig beyond the first, for each incident that the fault noted. None allows as many as the
    ledger counts as possible duplicates. The ledger must count each copy in any case."""

    failures: frozenset[str] = frozenset()
    """Error codes that an event's last attempt may have."""

    attempt_failures: frozenset[str] = frozenset()
    """Error codes that earlier attempts may have."""

    dead_letters: Mapping[str, int] = field(default_factory=dict)
    """The most dead letters by reason. In a row with `poisoned` that decides instead."""

    poisoned: Poisoned | None = None

    delivered_within_seconds: float | None = None
    """The longest time from a call until Statsig has its event, unless that is poisoned or dead."""

    delivered_after_heal_seconds: float | None = None
    """The same, from the end of the fault where that is later than the call."""

    p99_during_ms: float | None = None
    drain_seconds: float = 45.0
    memory_growth_mib: float = 150.0
    """The most MiB that a process may grow beyond its peak before the fault."""

    requests_per_second: float | None = None
    """The most requests to Statsig in a second, in the first seconds after the heal."""

    log_may_break: bool = False
    """Whether lines of a process's log may be cut off."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    id: str
    title: str
    fault: Fault
    settings: Mapping[str, str] = field(default_factory=dict)
    expect: Expectations = Expectations()
    workers: int = 1
    tries: int = 1
    deadline_seconds: Callable[[int], float] = lambda _: 5.0
    event_name: Callable[[int], str] = lambda _: "fault_lab"
    lasting: Callable[[int], Sequence[StandInRule]] = lambda _: ()
    """Rules of the stand-in by seed, which hold from before the first event to the end, ahead of the fault's."""

    seeds: tuple[int, ...] = DEFAULT_SEEDS
    """The seeds, unless the command line names others."""

    wrappers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By program: the lab's module that starts it, and its arguments; `{run_dir}` stands for the run's folder."""

    cannot_run: Callable[[], str | None] = lambda: None
    """Returns why this machine cannot run the row, or None."""

    abandon: bool = False
    """Whether callers hang up after some milliseconds."""

    load_share: float = 1.0
    """The share of the run's events that are sent steadily; the fault sends the others."""

    load_seconds: float = 7.0
    """The least time of sending the default number of events."""

    many_per_second: float = 300.0
    """The highest rate of a steady load of more events than usual."""

    full_load_seconds: float | None = None
    """The same for a run of full length, where it differs."""

    linger_seconds: float = 0.0
    """Seconds to watch after everything is settled, for what redelivery may still do."""
