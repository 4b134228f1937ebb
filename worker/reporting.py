"""Reporting: the worker tells at intervals that it runs and how its circuit stands, so that operators need not guess.

Beside the work and never in its way: a report that fails is logged, and the next one tells the same.
"""

import uuid
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Final

import anyio

from shared.clock import Clock
from shared.errors import EventLoggingError
from shared.logs import get_logger
from shared.worker_states import WorkerState, WorkerStates
from worker.circuit import Circuit

INTERVAL_SECONDS: Final = 10.0
"""Operators take a worker for gone after 30 s: two reports in a row may fail."""

LAST_SECONDS: Final = 1.0
"""For the report that it ends, beside the draining of what is in work."""

_log = get_logger()


class Reporting:
    """Reports for one worker process."""

    def __init__(self, *, states: WorkerStates, circuit: Circuit, clock: Clock, stopping: anyio.Event) -> None:
        self._states = states
        self._circuit = circuit
        self._stopping = stopping
        self._started_at = datetime.fromtimestamp(clock.now_nanos() / 1e9, UTC)
        self._is_failing = False
        self.worker_id: Final = str(uuid.uuid4())

    async def run_until_stopped(self) -> None:
        """Report until `stopping` is set or until cancelled, and then once more that this is the end."""
        try:
            while not self._stopping.is_set():
                await self._report(is_stopped=False)
                with anyio.move_on_after(INTERVAL_SECONDS):
                    await self._stopping.wait()
        finally:
            with anyio.move_on_after(LAST_SECONDS, shield=True):
                await self._report(is_stopped=True)

    async def _report(self, *, is_stopped: bool) -> None:
        state = WorkerState(
            worker_id=self.worker_id,
            version=version("event-logging"),
            started_at=self._started_at,
            circuit_reason=self._circuit.open_reason,
            circuit_since=self._circuit.open_since,
            is_stopped=is_stopped,
        )
        try:
            await self._states.report(state)
        except EventLoggingError as error:
            # Once: what keeps failing is Spanner, of which the claims tell too.
            if not self._is_failing:
                _log.warning("worker_report_failed", error=str(error))
            self._is_failing = True
        except Exception:  # noqa: BLE001 - what only informs must not end the process that forwards
            _log.exception("worker_report_crashed")
        else:
            self._is_failing = False
