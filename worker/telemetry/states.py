"""What the worker's gauges show: the circuit, and the age of the oldest pending event."""

from typing import Final

import anyio

from shared.clock import Clock
from shared.errors import EventLoggingError
from shared.forward_ledger import ForwardLedger
from shared.logs import get_logger
from shared.telemetry.metrics import CIRCUIT_OPEN, OLDEST_PENDING, gauge
from shared.telemetry.providers import Telemetry
from worker.circuit import Circuit

LOOK_SECONDS: Final = 15.0
"""Between two looks at the ledger's index: some rows each, and an alert need not be quicker."""

_log = get_logger()


def observe_circuit(telemetry: Telemetry, circuit: Circuit) -> None:
    def state() -> dict[str, float]:
        reason = circuit.open_reason
        return {"": 0} if reason is None else {reason: 1}

    gauge(telemetry.meter, CIRCUIT_OPEN, state)


class PendingAge:
    """The age of the oldest pending event. While Spanner does not answer, what was pending last grows older."""

    def __init__(self, ledger: ForwardLedger, clock: Clock) -> None:
        self._ledger = ledger
        self._clock = clock
        self._born: float | None = None
        self._looked = False

    def seconds(self) -> float | None:
        """0 where nothing is pending; None before the first answer."""
        if self._born is None:
            return 0.0 if self._looked else None
        return max(0.0, self._clock.monotonic() - self._born)

    async def look(self) -> None:
        """Ask the ledger.

        Raises:
            StorageUnavailableError: no answer.
        """
        age = await self._ledger.oldest_pending_seconds()
        self._born = None if age is None else self._clock.monotonic() - age
        self._looked = True

    async def look_for_ever(self, telemetry: Telemetry) -> None:
        """Look at intervals, until cancelled."""
        gauge(telemetry.meter, OLDEST_PENDING, self.seconds)
        while True:
            try:
                await self.look()
            except EventLoggingError as error:
                _log.warning("pending_age_unknown", error=str(error))
            except Exception:  # noqa: BLE001 - what only informs must not end the process that forwards
                _log.exception("pending_age_crashed")
            await anyio.sleep(LOOK_SECONDS)
