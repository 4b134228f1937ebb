"""What to do about an open circuit, by its reason, and what it means for a pending event; pure.

The section `circuit_opened` of deploy/RUNBOOK.md has the same advice in full.
"""

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from shared.process.process_states import Role, SeenProcess
from worker.operators.state.asking import Unknown
from worker.operators.state.processes import OpenCircuit, last_report, next_probe, open_circuits, running
from worker.operators.terminal.durations import moment, shown

_UNREACHABLE: Final = {"dns", "connection_refused", "unreachable", "connect_timeout", "tls", "proxy"}
_REFUSES_US: Final = {"http_401", "http_403", "http_404", "http_405", "redirect", "unusable_settings"}
_REJECTS_EVENTS: Final = {"http_400", "http_413", "http_422"}
_DOWN: Final = re.compile(r"http_(5[0-9]{2}|408|409)")

START_A_WORKER: Final = "start a worker; until then accepted events stay pending, and none is lost"


def advice_for(reason: str) -> str:
    """What to do about a circuit that is open for this reason. Any word has an answer."""
    if reason in _UNREACHABLE:
        return "no connection to Statsig: run `nest-events doctor`; check egress, firewall, proxy and STATSIG_API_URL"
    if reason in _REFUSES_US:
        return "Statsig refuses the key or the address: run `nest-events doctor`, then correct STATSIG_SERVER_SECRET"
    if reason in _REJECTS_EVENTS:
        return "Statsig rejects every event: see `nest-events dead-letters list`; is it one event name, or all of them?"
    if reason == "http_429":
        return "Statsig limits our rate: ask Statsig about the limit, or run fewer workers"
    if _DOWN.fullmatch(reason):
        return "Statsig, or a proxy before it, is down: wait, and look at Statsig's status page"
    return "Statsig gives no clear answer: check the network to Statsig, then Statsig's status page"


def circuit_sentence(circuit: OpenCircuit, workers: int, now: datetime) -> str:
    """How many of the workers have the circuit open, since when and why, and when the next probe comes."""
    probe = next_probe([circuit], now)
    return (
        f"The circuit of {circuit.workers} of {workers} {'worker' if workers == 1 else 'workers'} has been open since "
        f"{moment(circuit.since)} ({shown(now - circuit.since)}): {circuit.reason}" + (f"; {probe}" if probe else "")
    )


def delivery_advice(processes: Sequence[SeenProcess] | Unknown, now: datetime) -> str | None:
    """Why a pending event waits and what to do, where no worker or no closed circuit is the reason; else None.

    It takes the place of the advice to run `reconcile`, which would only multiply messages while circuits are open.
    """
    if isinstance(processes, Unknown):
        return f"Whether a worker runs is {processes}."
    workers = running(processes, Role.WORKER)
    if not workers:
        return f"No worker runs: {last_report(processes, Role.WORKER, now)}. To do: {START_A_WORKER}."
    circuits = open_circuits(processes)
    if sum(each.workers for each in circuits) < len(workers):
        return None
    sentences = [f"{circuit_sentence(each, len(workers), now)}. To do: {advice_for(each.reason)}." for each in circuits]
    return " ".join(sentences) + " The event is sent once a circuit closes; a reconcile does not speed that up."
