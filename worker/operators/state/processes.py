"""The processes as commands show them: who runs, how each worker's circuit stands, what they count together; pure."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from shared.process.process_states import Role, SeenProcess
from worker.operators.terminal.durations import moment, shown

GONE_AFTER: Final = timedelta(seconds=30)
"""Three reports' time: a process that told nothing for so long is taken for gone."""

SHORTEST_INTERVAL_SECONDS: Final = 1.0
"""What was counted in less makes no rate: the first report of a process covers nothing."""


@dataclass(frozen=True, slots=True)
class OpenCircuit:
    """The circuits of some workers, open for the same reason."""

    reason: str
    workers: int
    since: datetime
    """The first of them."""

    next_probe_at: datetime | None
    """The next of them, as they told it; may be over."""


@dataclass(frozen=True, slots=True)
class Rates:
    """Events a second of all processes of a role together, over their last interval."""

    processes: int
    """Those whose rates are in it."""

    seconds: float
    """The longest of their intervals."""

    per_second: dict[str, float]
    counted: dict[str, int]


COUNTED: Final = {
    Role.INGRESS: ("accepted", "refused", "failed"),
    Role.WORKER: ("delivered", "dead_lettered", "failed_requests"),
}


def running(seen: Iterable[SeenProcess], role: Role) -> list[SeenProcess]:
    """Those of the role that run, in the order given."""
    return [
        each for each in seen if each.state.role is role and not each.state.is_stopped and each.seen_ago <= GONE_AFTER
    ]


def rates(seen: Iterable[SeenProcess], role: Role) -> Rates | None:
    """None where none of those that run has told any yet."""
    telling = [each.state for each in running(seen, role) if each.state.interval_seconds >= SHORTEST_INTERVAL_SECONDS]
    if not telling:
        return None
    counts = {name: [getattr(each.report, name) for each in telling] for name in COUNTED[role]}
    return Rates(
        processes=len(telling),
        seconds=max(each.interval_seconds for each in telling),
        per_second={
            name: sum(count / each.interval_seconds for count, each in zip(values, telling, strict=True))
            for name, values in counts.items()
        },
        counted={name: sum(values) for name, values in counts.items()},
    )


def open_circuits(seen: Iterable[SeenProcess]) -> list[OpenCircuit]:
    """Of the workers that run, by reason, that of the most workers first."""
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
    """When, in words; None where no circuit is open or none told."""
    times = [each.next_probe_at for each in circuits if each.next_probe_at is not None]
    if not times:
        return None
    left = min(times) - now
    return f"next probe in {shown(left)}" if left >= timedelta(seconds=1) else "the next probe is due now"


def last_of(seen: Sequence[SeenProcess], role: Role, now: datetime) -> str:
    """When the last of a role that does not run any more told something, and how it ended."""
    of_role = [each for each in seen if each.state.role is role]
    if not of_role:
        return "none was seen within a day"
    last = min(of_role, key=lambda each: each.seen_ago)
    how = "it was stopped" if last.state.is_stopped else "it told nothing since"
    return f"the last was seen {moment(now - last.seen_ago)} ({shown(last.seen_ago)} ago), {how}"


def process_as_dict(process: SeenProcess) -> dict[str, Any]:
    """As a document."""
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
    """Of those that run: a line each, the workers first."""
    for role in (Role.WORKER, Role.INGRESS):
        for each in running(seen, role):
            state = each.state
            circuit = f"  circuit {_circuit(each)}" if role is Role.WORKER else ""
            told = f"{role.value:<8}{state.process_id}  {state.version:<8} seen {shown(each.seen_ago)} ago"
            yield f"{told}{circuit}{_last_failure(each, now)}"


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
