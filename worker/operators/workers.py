"""The workers as commands show them: who runs, and how each one's circuit stands; pure."""

from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import Any, Final

from shared.worker_states import SeenWorker
from worker.operators.durations import moment, shown
from worker.operators.findings import Finding, Verdict

GONE_AFTER: Final = timedelta(seconds=30)
"""Three reports' time: a worker that told nothing for so long is taken for gone."""

_TO_START: Final = "start one: until then what is accepted waits, pending; nothing is lost"


def running(seen: Iterable[SeenWorker]) -> list[SeenWorker]:
    """In the order given."""
    return [each for each in seen if not each.state.is_stopped and each.seen_ago <= GONE_AFTER]


def worker_as_dict(worker: SeenWorker) -> dict[str, Any]:
    """As a document."""
    state = worker.state
    return {
        "worker_id": state.worker_id,
        "version": state.version,
        "started_at": state.started_at,
        "seen_seconds_ago": round(worker.seen_ago.total_seconds(), 3),
        "circuit": "closed" if state.circuit_reason is None else "open",
        "circuit_reason": state.circuit_reason,
        "circuit_since": state.circuit_since,
    }


def worker_lines(workers: list[SeenWorker]) -> Iterator[str]:
    """Of those that run: a heading and a line each."""
    if not workers:
        yield f"Workers      none seen within {shown(GONE_AFTER)}: is one running?"
        return
    yield f"Workers      {len(workers)}"
    for worker in workers:
        yield f"  {worker.state.worker_id}  {worker.state.version:<8} circuit {_circuit(worker)}"


def worker_finding(seen: list[SeenWorker]) -> Finding:
    """Whether any worker runs."""
    if workers := running(seen):
        is_open = [_circuit(worker) for worker in workers if worker.state.circuit_reason is not None]
        circuits = f"; circuit {', '.join(is_open)}" if is_open else ""
        return Finding("worker", Verdict.OK, f"{len(workers)} seen within {shown(GONE_AFTER)}{circuits}")
    if not seen:
        return Finding("worker", Verdict.WRONG, "none seen within a day", _TO_START)
    last = seen[0]
    how = "it was stopped" if last.state.is_stopped else "it told nothing since"
    return Finding(
        "worker", Verdict.WRONG, f"none runs; the last was seen {shown(last.seen_ago)} ago, {how}", _TO_START
    )


def _circuit(worker: SeenWorker) -> str:
    state = worker.state
    return (
        "closed"
        if state.circuit_reason is None
        else f"open since {moment(state.circuit_since)}: {state.circuit_reason}"
    )
