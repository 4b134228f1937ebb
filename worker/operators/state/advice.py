"""What to do about an open circuit, by its reason, and what that means for one event; pure.

`deploy/RUNBOOK.md` says the same at more length, under `circuit_opened`.
"""

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from shared.process.process_states import Role, SeenProcess
from worker.operators.state.asking import Unknown
from worker.operators.state.processes import OpenCircuit, last_of, next_probe, open_circuits, running
from worker.operators.terminal.durations import moment, shown

_UNREACHABLE: Final = {"dns", "connection_refused", "unreachable", "connect_timeout", "tls", "proxy"}
_REFUSES_US: Final = {"http_401", "http_403", "http_404", "http_405", "redirect", "unusable_settings"}
_REJECTS_ALL: Final = {"http_400", "http_413", "http_422"}
_DOWN: Final = re.compile(r"http_(5[0-9]{2}|408|409)")

TO_START: Final = "start a worker: until then what is accepted waits, pending; nothing is lost"


def advice_for(reason: str) -> str:
    """What to do about a circuit that is open for this reason."""
    if reason in _UNREACHABLE:
        return "no connection to Statsig: see `nest-events doctor`, egress, firewall, proxy, STATSIG_API_URL"
    if reason in _REFUSES_US:
        return "Statsig refuses the key or the address: see `nest-events doctor`, then set STATSIG_SERVER_SECRET anew"
    if reason in _REJECTS_ALL:
        return "Statsig rejects all it is sent: see `nest-events dead-letters list`; one event name, or all of them?"
    if reason == "http_429":
        return "Statsig limits us: ask it about the limit, or run fewer workers"
    if _DOWN.fullmatch(reason):
        return "Statsig, or a proxy before it, is down: wait, and look at Statsig's status page"
    return "no clear answer comes from Statsig: look at the network to it, then at its status page"


def circuit_sentence(circuit: OpenCircuit, workers: int, now: datetime) -> str:
    """How many circuits are open, why, since when, and what comes next."""
    probe = next_probe([circuit], now)
    return (
        f"The circuit of {circuit.workers} of {workers} {'worker' if workers == 1 else 'workers'} is open since "
        f"{moment(circuit.since)} ({shown(now - circuit.since)}): {circuit.reason}" + (f"; {probe}" if probe else "")
    )


def delivery_advice(processes: Sequence[SeenProcess] | Unknown, now: datetime) -> str | None:
    """Why a pending event may wait, and what to do, where its workers are the reason; None where they are not.

    For whoever would else advise `reconcile`: while a circuit is open it would only multiply messages.
    """
    if isinstance(processes, Unknown):
        return f"Whether a worker runs is {processes}."
    workers = running(processes, Role.WORKER)
    if not workers:
        return f"No worker runs: {last_of(processes, Role.WORKER, now)}. To do: {TO_START}."
    circuits = open_circuits(processes)
    if sum(each.workers for each in circuits) < len(workers):
        return None
    sentences = [f"{circuit_sentence(each, len(workers), now)}. To do: {advice_for(each.reason)}." for each in circuits]
    return " ".join(sentences) + " It is sent when the circuit closes, by itself; a reconcile does not make it faster."
