"""What a worker reports of itself: what it counted, and how its circuit stands."""

from datetime import datetime
from typing import Protocol

from shared.process.process_states import Report
from worker.circuit import Circuit
from worker.tally import Tally


class Watermarked(Protocol):
    """A ledger that remembers where the pending events begin."""

    @property
    def nothing_pending_before(self) -> datetime | None:
        """None where it has not looked."""
        ...


def taken(tally: Tally, circuit: Circuit, ledger: Watermarked | None = None) -> Report:
    """What was counted since the last report; the tally starts anew."""
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
    tally.start_anew()
    return report
