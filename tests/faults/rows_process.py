"""Fault rows of the process's environment: process id 1 (F14)."""

from pathlib import Path
from typing import Final

from tests.faults import rows_ingress, rows_worker
from tests.faults.first_process import STARTED, why_impossible
from tests.faults.lab import Lab
from tests.faults.row import Expectations, Fault, Row
from tests.faults.rows_ingress import AWAY, RESTARTS

AS_FIRST: Final = ("tests.faults.first_process",)


def as_first(name: str, fault: Fault) -> Fault:
    async def checked(lab: Lab) -> None:
        require_first(lab, name)
        await fault(lab)
        require_first(lab, name)

    return checked


def require_first(lab: Lab, name: str) -> None:
    """Checks with /proc that it is process 1: the id in the innermost namespace comes last."""
    pid = lab.logged(name, STARTED)[-1]["pid"]
    status = Path(f"/proc/{pid}/status").read_text()
    ids = next(line.split()[1:] for line in status.splitlines() if line.startswith("NSpid:"))
    lab.require(len(ids) > 1 and ids[-1] == "1", f"{name} is process {' '.join(ids)} and not 1: no fault")


PROCESS_ROWS: Final = (
    Row(
        id="F14a",
        title="SIGTERM to the worker as process 1, three times",
        fault=as_first(rows_worker.WORKER, rows_worker.terminated),
        wrappers={"worker": AS_FIRST},
        cannot_run=why_impossible,
    ),
    Row(
        id="F14b",
        title="SIGTERM to the ingress as process 1, with calls in flight and half a request",
        fault=as_first("ingress", rows_ingress.terminated),
        wrappers={"ingress": AS_FIRST},
        cannot_run=why_impossible,
        tries=RESTARTS,
        expect=Expectations(attempt_failures=AWAY),
    ),
)
