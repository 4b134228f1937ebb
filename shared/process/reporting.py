"""Reporting: at intervals a process writes that it runs, its counts and its state, for operators.

A report never delays or fails the work. One that fails is logged, and its counts are lost: they only show rates, and
the tables have the truth. What is written beside it must keep for the next one what could not be written.
"""

import uuid
from collections.abc import Awaitable, Callable
from importlib.metadata import version
from typing import Final

import anyio

from shared.clock import Clock
from shared.errors import EventLoggingError
from shared.process.logs import get_logger
from shared.process.process_states import ProcessState, ProcessStates, Report, Role

INTERVAL_SECONDS: Final = 10.0
"""Time between two reports. Operators take a process for gone after 30 s, so two reports in a row may fail."""

LAST_SECONDS: Final = 1.0
"""The bound on the last report, which is written while the work in flight is drained."""

_log = get_logger()


class Reporting:
    """Reports one process, as `process_id`."""

    def __init__(
        self,
        *,
        states: ProcessStates,
        role: Role,
        look: Callable[[], Report],
        clock: Clock,
        stopping: anyio.Event,
        beside: Callable[[str], Awaitable[None]] | None = None,
    ) -> None:
        """`look` returns the counts since its last call; it is called once for each report.

        `beside` is awaited after each report that was written, with the process_id.
        """
        self._states = states
        self._role = role
        self._look = look
        self._clock = clock
        self._stopping = stopping
        self._beside = beside
        self._started_at = clock.now()
        self._looked_at = clock.monotonic()
        self._is_failing = False
        self.process_id: Final = str(uuid.uuid4())

    async def run_until_stopped(self) -> None:
        """Report until `stopping` is set or until cancelled, and once more at the end, as stopped."""
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
            if self._beside is not None:
                await self._beside(self.process_id)
        except EventLoggingError as error:
            # Only the first of several: Spanner is away, which the work logs too.
            if not self._is_failing:
                _log.warning("report_failed", role=self._role.value, error=str(error))
            self._is_failing = True
        except Exception:  # noqa: BLE001 - a report must not end the process
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
