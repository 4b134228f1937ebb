"""A row of the fault matrix: what is done to the system, and what must hold afterwards. Values only."""

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
    # The emulator runs one read-write transaction at a time, and forgets those of a session beyond the 32nd: with more
    # at once it is the emulator that is tested.
    "COMMIT_CONCURRENCY": "1",
    "LANES": "1",
}
"""Every process's settings, unless a row says otherwise: what waits for minutes in production waits for seconds."""

QUICK: Final[Mapping[str, str]] = {"RETRY_BUDGET_SECONDS": "1", "CLAIM_SECONDS": "8"}
"""On top of them for a quick look: the shortest claim that these allow."""

RECONCILER_OFF: Final[Mapping[str, str]] = {"RECONCILE_AFTER_SECONDS": "3600"}
"""For rows that must heal by redelivery alone."""

PUBLISH_BUDGET_MS: Final = 1000 * float(IMPATIENT["PUBLISH_TIMEOUT_SECONDS"])

IN_FLIGHT: Final = int(IMPATIENT["LANES"]) * int(IMPATIENT["BATCH_EVENTS"])
"""Events that one worker process can have at Statsig when it dies."""

Fault = Callable[["Lab"], Awaitable[None]]

StandInRule = Mapping[str, Any]
"""A rule of the stand-in for Statsig, as its control takes it."""

DEFAULT_SEEDS: Final = (1, 2, 3)


@dataclass(frozen=True, slots=True, kw_only=True)
class Poisoned:
    """What must hold of a row's poisoned events: those that its lasting rules never let through."""

    reasons: frozenset[str]
    """That their dead letters may have."""

    requests_each: int
    """That carry one of them, at most: until it is found, and for its trials."""

    share_of_requests: float = 1.0
    """Of all requests, those that carry any of them, at most."""

    may_stay_pending: bool = False
    """Whether the run is over once everything else is settled: their trials have pauses that grow."""

    others_may_die: Callable[[int], int] = lambda _: 0
    """How many events that are not poisoned may be dead letters, of any reason, by the number of events."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectations:
    """What may be seen; everything else is a breach."""

    duplicates_per_incident: int | None = 0
    """Copies at Statsig beyond the first, for each incident that the fault noted; 0 allows none at all, None as many as
    the ledger counts as possible. That each is counted there must hold in any case."""

    failures: frozenset[str] = frozenset()
    """Codes that an event's last attempt may have ended with."""

    attempt_failures: frozenset[str] = frozenset()
    """As above for attempts that were followed by another one."""

    dead_letters: Mapping[str, int] = field(default_factory=dict)
    """At most so many by reason; of a row with poisoned events that decides instead."""

    poisoned: Poisoned | None = None

    delivered_within_seconds: float | None = None
    """From when a call begins until Statsig has its event, unless that is poisoned or dead."""

    delivered_after_heal_seconds: float | None = None
    """As above, from the end of the fault where that is later."""

    p99_during_ms: float | None = None
    drain_seconds: float = 45.0
    memory_growth_mib: float = 150.0
    """During the run of any process, from the first event on."""

    requests_per_second: float | None = None
    """To Statsig in the first seconds after the heal."""

    log_may_break: bool = False
    """Whether a line of a process's log may be cut off."""


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
    """By the seed: rules of the stand-in that hold from before the first event to the end, ahead of the fault's."""

    seeds: tuple[int, ...] = DEFAULT_SEEDS
    """Unless the command line names others."""

    wrappers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By program: the module of the lab that starts it, and its arguments; `{run_dir}` stands for the run's folder."""

    cannot_run: Callable[[], str | None] = lambda: None
    """Why not on this machine, asked when it is the row's turn."""

    abandon: bool = False
    """Callers hang up after some milliseconds."""

    load_share: float = 1.0
    """Of the run's events that are sent steadily; the others are the fault's to send."""

    load_seconds: float = 7.0
    """How long sending takes at the default number of events, at least."""

    full_load_seconds: float | None = None
    """As above for a run of full length, where it differs."""

    linger_seconds: float = 0.0
    """Watched after everything is settled, for what redelivery may still do."""
