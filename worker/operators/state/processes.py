"""What processes reported: which run, their rates together, and the workers' circuits; pure."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from shared.process.process_states import Role, SeenProcess
from worker.operators.terminal.durations import moment, shown

GONE_AFTER: Final = timedelta(seconds=30)
"""A process that has not reported for this long counts as gone. Processes report every 10 s."""

SHORTEST_INTERVAL_SECONDS: Final = 1.0
"""Counts over less than this make no rate: the first report of a process covers next to no time."""


@dataclass(frozen=True, slots=True)
class OpenCircuit:
    """How many workers have their circuit open for the same reason."""

    reason: str
    workers: int
    since: datetime
    """When the first of them opened."""

    next_probe_at: datetime | None
    """The earliest next probe, as reported; it may be in the past."""


@dataclass(frozen=True, slots=True)
class Rates:
    """What all processes of a role counted together, each over its last interval."""

    processes: int
    """How many processes are included."""

    seconds: float
    """The longest of their intervals."""

    per_second: dict[str, float]
    """Keyed by the names in COUNTED."""

    counted: dict[str, int]
    """The same counts, not divided by time."""


COUNTED: Final = {
    Role.INGRESS: ("accepted", "refused", "failed"),
    Role.WORKER: ("delivered", "dead_lettered", "failed_requests"),
}


def running(seen: Iterable[SeenProcess], role: Role) -> list[SeenProcess]:
    """The processes of the role that have not stopped and reported within GONE_AFTER, in the order given."""
    return [
        each for each in seen if each.state.role is role and not each.state.is_stopped and each.seen_ago <= GONE_AFTER
    ]


def rates(seen: Iterable[SeenProcess], role: Role) -> Rates | None:
    """The rates of the running processes of a role; None where none of them has counted long enough."""
    states = [each.state for each in running(seen, role) if each.state.interval_seconds >= SHORTEST_INTERVAL_SECONDS]
    if not states:
        return None
    counts = {name: [getattr(each.report, name) for each in states] for name in COUNTED[role]}
    return Rates(
        processes=len(states),
        seconds=max(each.interval_seconds for each in states),
        per_second={
            name: sum(count / each.interval_seconds for count, each in zip(values, states, strict=True))
            for name, values in counts.items()
        },
        counted={name: sum(values) for name, values in counts.items()},
    )


def open_circuits(seen: Iterable[SeenProcess]) -> list[OpenCircuit]:
    """The open circuits of running workers by reason; the reason of the most workers comes first."""
    by_reason: dict[str, list[SeenProcess]] = {}
    for each in running(seen, Role.WORKER):
        if each.state.report.circuit_reason is not None:
            by_reason.setdefault(each.state.report.circuit_reason, []).append(each)
    found = [
        OpenCircuit(
            reason,
            len(workers),
            since=min(each.state.report.circuit_since or each.state.started_at for each in workers),
            next_probe_at=min(
                (at for each in workers if (at := each.state.report.next_probe_at) is not None), default=None
            ),
        )
        for reason, workers in by_reason.items()
    ]
    return sorted(found, key=lambda each: -each.workers)


def next_probe(circuits: Sequence[OpenCircuit], now: datetime) -> str | None:
    """When the next probe comes, in words; None where no circuit has reported it."""
    times = [each.next_probe_at for each in circuits if each.next_probe_at is not None]
    if not times:
        return None
    left = min(times) - now
    return f"next probe in {shown(left)}" if left >= timedelta(seconds=1) else "the next probe is due now"


def last_report(seen: Sequence[SeenProcess], role: Role, now: datetime) -> str:
    """For when no process of a role runs: when the latest report came, and whether its process was stopped."""
    of_role = [each for each in seen if each.state.role is role]
    if not of_role:
        return "none was seen within a day"
    last = min(of_role, key=lambda each: each.seen_ago)
    how = "when it was stopped" if last.state.is_stopped else "and has not reported since"
    return f"the last one was seen at {moment(now - last.seen_ago)} ({shown(last.seen_ago)} ago) {how}"


def process_as_dict(process: SeenProcess) -> dict[str, Any]:
    """A process as a document: what its role counts, and of a worker the circuit and the last failed request."""
    state, report = process.state, process.state.report
    document: dict[str, Any] = {
        "process_id": state.process_id,
        "role": state.role.value,
        "version": state.version,
        "started_at": state.started_at,
        "seen_seconds_ago": round(process.seen_ago.total_seconds(), 3),
        "interval_seconds": round(state.interval_seconds, 3),
        **{name: getattr(report, name) for name in COUNTED[state.role]},
    }
    if state.role is Role.WORKER:
        document |= {
            "circuit": "closed" if report.circuit_reason is None else "open",
            "circuit_reason": report.circuit_reason,
            "circuit_since": report.circuit_since,
            "next_probe_at": report.next_probe_at,
            "last_failure": report.last_failure,
            "last_failure_at": report.last_failure_at,
        }
    return document


def process_lines(seen: Sequence[SeenProcess], now: datetime) -> Iterator[str]:
    """A line for each process that runs, the workers first."""
    for role in (Role.WORKER, Role.INGRESS):
        for each in running(seen, role):
            state = each.state
            circuit = f"  circuit {_circuit(each)}" if role is Role.WORKER else ""
            process = f"{role.value:<8}{state.process_id}  {state.version:<8} seen {shown(each.seen_ago)} ago"
            yield f"{process}{circuit}{_last_failure(each, now)}"


def _circuit(process: SeenProcess) -> str:
    report = process.state.report
    if report.circuit_reason is None:
        return "closed"
    return f"open since {moment(report.circuit_since)}: {report.circuit_reason}"


def _last_failure(process: SeenProcess, now: datetime) -> str:
    report = process.state.report
    if report.last_failure is None or report.last_failure_at is None:
        return ""
    return f"; last failed request {shown(now - report.last_failure_at)} ago: {report.last_failure}"
