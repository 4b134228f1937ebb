"""The worker's report for operators: its counts, and the state of its circuit."""

from datetime import datetime
from typing import Protocol

from shared.process.process_states import Report
from worker.circuit import Circuit
from worker.tally import Tally


class Watermarked(Protocol):
    """A ledger that has a low watermark of pending events."""

    @property
    def nothing_pending_before(self) -> datetime | None:
        """No event from before this time is pending. None before the ledger has looked."""
        ...


def take_report(tally: Tally, circuit: Circuit, ledger: Watermarked | None = None) -> Report:
    """The report since the last one; resets the tally."""
    report = Report(
        delivered=tally.delivered,
        dead_lettered=tally.dead_lettered,
        failed_requests=tally.failed_requests,
        last_failure=tally.last_failure,
        last_failure_at=tally.last_failure_at,
        circuit_reason=circuit.open_reason,
        circuit_since=circuit.open_since,
        next_probe_at=circuit.next_probe_at,
        nothing_pending_before=None if ledger is None else ledger.nothing_pending_before,
    )
    tally.reset()
    return report
