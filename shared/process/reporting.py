"""Reporting: a process tells at intervals that it runs, what it counted and how it stands, so that nobody need guess.

Beside the work and never in its way: a report that fails is logged, and the next one tells what is then. What was
counted in an interval whose report failed is told to nobody: these are rates, and the tables have the truth.
"""

import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Final

import anyio

from shared.clock import Clock
from shared.errors import EventLoggingError
from shared.process.logs import get_logger
from shared.process.process_states import ProcessState, ProcessStates, Report, Role

INTERVAL_SECONDS: Final = 10.0
"""Operators take a process for gone after 30 s: two reports in a row may fail."""

LAST_SECONDS: Final = 1.0
"""For the report that it ends, beside the draining of what is in work."""

_log = get_logger()


class Reporting:
    """Reports for one process."""

    def __init__(
        self, *, states: ProcessStates, role: Role, look: Callable[[], Report], clock: Clock, stopping: anyio.Event
    ) -> None:
        """`look` takes what was counted since it was called last: it is called once an interval."""
        self._states = states
        self._role = role
        self._look = look
        self._clock = clock
        self._stopping = stopping
        self._started_at = datetime.fromtimestamp(clock.now_nanos() / 1e9, UTC)
        self._looked_at = clock.monotonic()
        self._is_failing = False
        self.process_id: Final = str(uuid.uuid4())

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
        try:
            await self._states.report(self._state(is_stopped=is_stopped))
        except EventLoggingError as error:
            # Once: what keeps failing is Spanner, of which the work tells too.
            if not self._is_failing:
                _log.warning("report_failed", role=self._role.value, error=str(error))
            self._is_failing = True
        except Exception:  # noqa: BLE001 - what only informs must not end the process that works
            _log.exception("report_crashed", role=self._role.value)
        else:
            self._is_failing = False

    def _state(self, *, is_stopped: bool) -> ProcessState:
        now, before = self._clock.monotonic(), self._looked_at
        self._looked_at = now
        return ProcessState(
            process_id=self.process_id,
            role=self._role,
            version=version("event-logging"),
            started_at=self._started_at,
            interval_seconds=now - before,
            report=self._look(),
            is_stopped=is_stopped,
        )
